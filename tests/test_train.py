"""The train command's refusals and its dry run; the loop itself is tested in test_loop.py."""

import importlib
import json
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import write_images, write_masked_images

from ccssl_tf import registry
from ccssl_tf.models import VGG16, AlexNet, save_backbone
from ccssl_tf.runs.errors import FlagError


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "ccssl_tf.train", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )


train_command = importlib.import_module("ccssl_tf.train")


def test_help_without_a_task_is_the_tasks_and_what_all_share():
    text = train_command.COMMAND.help(["--help"])
    for name in registry.TASKS:
        assert re.search(rf"^  {name} +[A-Z]", text, re.MULTILINE), name
    for name in ("task", "data_dir", "workdir", "train_steps", "learning_rate", "init_backbone"):
        assert f"  --{name}: " in text, name
    for name in ("num_permutations", "pseudo_labels", "probe_grids", "alexnet_order"):
        assert f"--{name}" not in text, name
    assert max(map(len, text.splitlines())) <= 100


def test_help_with_a_task_is_its_own():
    text = train_command.COMMAND.help(["--task=jigsaw", "--help"])
    for name in ("num_permutations", "data_dir", "learning_rate", "width_multiplier"):
        assert f"  --{name}: " in text, name
    assert "--pseudo_labels" not in text and "linear_probe" not in text
    wide = train_command.COMMAND.help(["--task=rotation", "--backbone=ResNet50", "--help"])
    assert "--width_multiplier" in wide and "--alexnet_order" not in wide


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["--task=supervised", "--pseudo_labels=x"], ["--pseudo_labels is a flag of --task="]),
        (
            ["--task=rotation", "--hog_words=7", "--frozen_until=conv3", "--teacher_backbone=x"],
            ["--extractor=hog", "--task=nonlinear_probe", "--task=feature_regression"],
        ),
        (
            ["--task=rotation", "--backbone=ResNet50", "--alexnet_order=bvlc"],
            ["--backbone=alexnet"],
        ),
        (["--task=attention_transfer", "--base_task=rotation", "--gray_probability=1"], ["jigsaw"]),
        (["--task=jigsw"], ["--task=jigsw: unknown", "jigsaw_pp"]),
        (["--task=rotation", "--backbone=resnet50"], ["--backbone=resnet50: unknown", "ResNet50"]),
        (["--task=rotation", "--learning_rat=1"], ["learning_rat", "Did you mean: learning_rate"]),
        (["--task=rotation", "--learning_rate=1e-3x"], ["learning_rate"]),
    ],
)
def test_flags_that_do_not_belong_are_refused(words, messages):
    with pytest.raises(FlagError) as error:
        train_command.COMMAND.parse([*words, "--data_dir=d", "--workdir=w"])
    for message in messages:
        assert message in str(error.value), message


def test_a_base_tasks_flags_belong_to_attention_transfer():
    words = ["--task=attention_transfer", "--teacher_backbone=t", "--data_dir=d", "--workdir=w"]
    values = train_command.COMMAND.parse([*words, "--num_permutations=9"])
    assert values.by_name["num_permutations"][1] == 9
    assert values.by_name["gray_probability"][1] == 0.7


def test_dry_run_writes_nothing(image_dir, tmp_path):
    places = [f"--data_dir={image_dir}", f"--workdir={tmp_path / 'run'}"]
    done = command(
        "--task=jigsaw_pp",
        *places,
        "--image_size=64",
        "--width_multiplier=0.1",
        "--batch_size=16",
        "--dry_run",
    )
    assert done.returncode == 0, done.stderr
    assert "would train jigsaw_pp on 48 images" in done.stdout
    assert not (tmp_path / "run").exists()


def test_what_is_rarely_meant_is_warned_of(image_dir, tmp_path, capsys):
    words = ["--task=rotation", f"--data_dir={image_dir}", f"--workdir={tmp_path / 'run'}"]
    words += ["--width_multiplier=0.1", "--batch_size=16", "--dry_run"]
    train_command.main(train_command.COMMAND.parse([*words, "--image_size=32"]))
    first, *warnings, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("device: ")
    assert warnings == [
        "warning: 350000 steps of 16 are 116,667 epochs of 48 images; --train_steps sets their "
        "number"
    ]
    few = ["--train_steps=10", "--image_size=64"]
    train_command.main(train_command.COMMAND.parse([*words, *few]))
    _, *warnings, _ = capsys.readouterr().out.splitlines()
    assert warnings == [
        "warning: images are enlarged: their shorter side has about 48 pixels, --image_size=64"
    ]


def test_the_flags_of_a_run_from_a_backbone_file_are_a_flagfile_for_it(image_dir, tmp_path):
    """The file brings its width and kind; they are recorded with the run."""
    save_backbone(VGG16(normalization="batch_norm", width_multiplier=0.05, fc_units=()), tmp_path)
    out = tmp_path / "probe"
    probe = [
        "--task=linear_probe",
        f"--data_dir={image_dir}",
        f"--workdir={out}",
        f"--init_backbone={tmp_path}",
        "--image_size=32",
    ]
    done = command(*probe, "--probe_grids=2,2,2,2,2", "--batch_size=16", "--train_steps=2")
    assert done.returncode == 0, done.stderr
    recorded = (out / "flags.txt").read_text().splitlines()
    assert {"--backbone=vgg16", "--width_multiplier=0.05", "--normalization=batch_norm"} <= set(
        recorded
    )
    again = command(f"--flagfile={out / 'flags.txt'}", f"--workdir={out}")
    assert again.returncode == 0 and "already complete" in again.stdout, again.stderr
    other = command(f"--flagfile={out / 'flags.txt'}", "--backbone=alexnet")
    assert (
        other.returncode == 2
        and "another architecture, vgg16, than --backbone=alexnet" in other.stderr
    )


def test_a_keras_model_of_somebody_else_is_probed_by_the_same_command(image_dir, tmp_path):
    layers = [
        keras.layers.Conv2D(4, 3, strides=2),
        keras.layers.BatchNormalization(),
        keras.layers.Flatten(),
        keras.layers.Dense(2),
    ]
    keras.Sequential([keras.Input([32, 32, 3]), *layers]).save(tmp_path / "net.keras")
    out, net = tmp_path / "probe", tmp_path / "net.keras"
    probe = [
        "--task=linear_probe",
        f"--data_dir={image_dir}",
        f"--workdir={out}",
        f"--init_backbone={net}",
        "--image_size=32",
    ]
    probe += ["--probe_grids=2", "--batch_size=16", "--train_steps=2"]
    refused = command(*probe)
    assert (
        refused.returncode == 2
        and refused.stderr.count("\n") == 1
        and "say what it takes pixels for: --input_range=" in refused.stderr
    )
    done = command(*probe, "--input_range=-1,1", "--input_channels=BGR")
    assert done.returncode == 0 and "accuracy/conv1" in done.stdout, done.stderr
    assert json.loads((out / "metrics.json").read_text())["backbone"] == "net"
    again = command(f"--flagfile={out / 'flags.txt'}")
    assert again.returncode == 0 and "already complete" in again.stdout, again.stderr


def test_rescaling_what_a_pretext_task_learned_before_fine_tuning(image_dir, tmp_path):
    """Batch normalisation is merged into the kernels, these are rescaled before step 0, and the run
    tells both; twice the same.
    """
    keras.utils.set_random_seed(0)
    backbone = AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.05, fc_units=())
    fingerprint = save_backbone(backbone, tmp_path)
    found = []
    for name in ("a", "b"):
        out = tmp_path / name
        flags = [
            f"--data_dir={image_dir}",
            f"--workdir={out}",
            f"--init_backbone={tmp_path}",
            "--image_size=32",
            "--batch_size=16",
        ]
        done = command(
            "--task=supervised",
            *flags,
            "--normalization=none",
            "--rescale_init",
            "--train_steps=1",
            "--learning_rate=0.001",
        )
        assert done.returncode == 0, done.stderr
        assert "rescaled  conv1 " in done.stdout
        found.append(json.loads((out / "backbone.json").read_text()))
    assert found[0] == found[1]
    told = found[0]["weights_from"]
    assert (
        told["fingerprint"] == fingerprint
        and told["batch_normalization"] == "merged into the kernels"
    )
    assert list(told["rescaled"]) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert {"--normalization=none", "--rescale_init"} <= set(
        (out / "flags.txt").read_text().split()
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of weights that no network can start from."""
    directory = tmp_path_factory.mktemp("weights")
    np.savez(
        directory / "narrow.npz", **{"conv1/0": np.zeros([8, 3, 11, 11]), "conv1/1": np.zeros(8)}
    )
    (directory / "damaged.npz").write_bytes((directory / "narrow.npz").read_bytes()[:500])
    keras.Sequential([keras.Input([4]), keras.layers.Lambda(lambda x: x)]).save(
        directory / "program.keras"
    )
    (directory / "normalized").mkdir()
    save_backbone(
        AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.05, fc_units=()),
        directory / "normalized",
    )
    return directory


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (
            ["--init_backbone={weights}/narrow.npz"],
            2,
            "conv1/0 has shape [8, 3, 11, 11], the network being built has [96, 3, 11, 11]",
        ),
        (["--init_backbone={weights}/damaged.npz"], 3, "damaged.npz: damaged"),
        (
            ["--init_backbone={weights}/program.keras"],
            2,
            "program.keras: holds a Lambda, which is a program",
        ),
        (
            ["--init_backbone={weights}/normalized", "--rescale_init"],
            2,
            "--rescale_init: alexnet has batch normalisation",
        ),
    ],
)
def test_weights_that_cannot_be_are_refused_in_one_line(
    image_dir, weights, tmp_path, arguments, code, message
):
    places = [
        f"--data_dir={image_dir}",
        f"--workdir={tmp_path / 'run'}",
        "--image_size=32",
        "--batch_size=16",
    ]
    done = command(
        "--task=supervised", *places, *(argument.format(weights=weights) for argument in arguments)
    )
    assert done.returncode == code, done.stderr
    assert (
        message in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--task=jigsaw_pp"], 1, "--data_dir"),
        (
            ["--task=nonsense", "--data_dir={images}", "--workdir={out}"],
            1,
            "--task=nonsense: unknown; there are",
        ),
        (
            ["--task=jigsaw_pp", "--data_dir=/no/such", "--workdir={out}"],
            2,
            "/no/such: no such directory",
        ),
        (
            ["--task=jigsaw_pp", "--data_dir={images}", "--workdir={out}", "--image_size=16"],
            1,
            "--image_size=16",
        ),
        (
            [
                "--task=jigsaw_pp",
                "--data_dir={images}",
                "--workdir={out}",
                "--image_size=64",
                "--batch_size=12",
            ],
            2,
            "--batch_size=12",
        ),
        (["--task=jigsaw_pp", "--data_dir={images}"], 1, "--workdir"),
        (
            [
                "--task=jigsaw_pp",
                "--data_dir={images}",
                "--workdir={out}",
                "--image_size=64",
                "--batch_size=800",
            ],
            2,
            "48 training images",
        ),
        (
            [
                "--task=linear_probe",
                "--data_dir={images}",
                "--workdir={out}",
                "--probe_grids=0,1,1,1,1",
            ],
            1,
            "--probe_grids=0,1,1,1,1",
        ),
        (
            ["--task=cluster_classification", "--data_dir={images}", "--workdir={out}"],
            1,
            "--pseudo_labels",
        ),
    ],
)
def test_refusals_are_one_line(image_dir, tmp_path, arguments, code, message):
    filled = [argument.format(images=image_dir, out=tmp_path / "run") for argument in arguments]
    done = command(*filled)
    assert done.returncode == code, done.stderr
    assert (
        message in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    )


@pytest.fixture(scope="module")
def bad_records(tmp_path_factory):
    """Data sets with labels and with masks of a class more than they name, not in the first
    records; one without a split val.
    """
    directory = tmp_path_factory.mktemp("bad")
    write_images(
        directory / "labels",
        {"train": [16, 16], "val": [16]},
        info=dict(class_names=["circle", "square"]),
    )
    names = [f"class {number}" for number in range(9)]
    write_masked_images(
        directory / "masks", dict(train=20, val=10), info=dict(class_names=names), last_class=10
    )
    write_images(directory / "unsplit", {"train": [16]})
    return directory


_BAD_LABEL = "has label 2, and the 2 classes are numbered from 0"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--task=linear_probe", "--data_dir={bad}/labels", "--probe_grids=2,2,2,2,2"], _BAD_LABEL),
        pytest.param(
            [
                "--task=linear_probe",
                "--data_dir={bad}/labels",
                "--probe_grids=2,2,2,2,2",
                "--cache_features",
            ],
            _BAD_LABEL,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--task=nonlinear_probe", "--data_dir={bad}/labels", "--frozen_until=conv3"],
            _BAD_LABEL,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--task=supervised", "--data_dir={bad}/labels"], _BAD_LABEL, marks=pytest.mark.slow
        ),
        pytest.param(
            ["--task=fcn", "--data_dir={bad}/masks", "--fc_units=8,8"],
            "split train: image 19 (train_019.jpg) has class 10 in its mask, and the 10 classes "
            "are numbered from 0",
            marks=pytest.mark.slow,
        ),
        (["--task=linear_probe", "--data_dir={bad}/unsplit"], "unsplit: no split val, but train"),
        pytest.param(
            ["--task=nonlinear_probe", "--data_dir={bad}/unsplit"],
            "unsplit: no split val, but train",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--task=voc07_classification", "--data_dir={bad}/unsplit"],
            "unsplit: no split trainval",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--task=fcn", "--data_dir={bad}/unsplit"],
            "the images of split train have no masks",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--task=fcn", "--data_dir={bad}/labels"],
            "the images of split train have no masks",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_records_and_splits_an_evaluation_cannot_use_are_named_in_one_line(
    bad_records, tmp_path, arguments, message
):
    filled = [argument.format(bad=bad_records) for argument in arguments]
    sizes = [
        "--image_size=32",
        "--width_multiplier=0.05",
        "--batch_size=16",
        "--train_steps=4",
        "--learning_rate=0.001",
    ]
    done = command(*filled, *sizes, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2, done.stderr
    assert (
        message in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    )
    assert not (tmp_path / "run" / "DONE").exists()

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf import training
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone_file import backbone_fingerprint
from ccssl_tf.pretext.jigsaw_pp import JigsawPP
from ccssl_tf.pretext.permutations import permutation_set
from ccssl_tf.runs.errors import InputError, Interrupted
from ccssl_tf.training import loop, optimizers


def tiny_task(image_dir, **changes):
    settings = dict(
        permutations_per_image=2,
        gray_probability=0.7,
        tile_units=16,
        head_units=32,
        eval_batch_size=8,
    )
    settings |= dict(data_dir=image_dir, image_size=32, permutations=permutation_set(10))
    return JigsawPP(**settings | changes)


def tiny_backbone(normalization="batch_norm"):
    return AlexNet(stem="small", normalization=normalization, width_multiplier=0.1, fc_units=())


def run(task, workdir, steps, name="adam", backbone=tiny_backbone, **options):
    keras.utils.set_random_seed(0)
    settings = dict(
        workdir=workdir, train_steps=steps, batch_size=16, log_steps=2, checkpoint_steps=100
    )
    rate = 3e-3 if name == "adam" else 0.01
    decay_steps = 4 if name == "sgd" else 1000

    def optimizer():
        return optimizers.make_optimizer(name, rate, schedule="step", decay_steps=decay_steps)

    return training.train(task, backbone, optimizer, **settings | options)


def test_loss_falls_and_metrics_are_recorded(image_dir, tmp_path):
    model, metrics, timing = run(
        tiny_task(image_dir, permutations=permutation_set(2)), tmp_path, 30, eval_steps=15
    )
    history = metrics["history"]["train"]
    assert [record["step"] for record in history] == list(range(2, 31, 2))
    assert np.mean([r["loss"] for r in history[-4:]]) < np.mean([r["loss"] for r in history[:4]])
    assert [record["step"] for record in metrics["history"]["evaluation"]] == [15, 30]
    assert set(metrics["evaluation"]) == {"loss", "accuracy"}
    assert metrics["num_parameters"] == model.count_params() - sum(
        int(np.prod(v.shape)) for v in model.non_trainable_variables
    )
    assert timing["images_per_second"] > 0
    assert run(tiny_task(image_dir), tmp_path / "short", 1, log_steps=50)[2] == {}, (
        "there is no rate before the second record"
    )
    for picture in ("puzzle", "conv1_filters"):
        assert (
            tf.io.decode_png((tmp_path / "pictures" / f"{picture}.png").read_bytes()).shape[-1] == 3
        )
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("normalization, optimizer", [("batch_norm", "adam"), ("lrn", "sgd")])
def test_interrupted_run_ends_with_the_same_weights(
    image_dir, tmp_path, monkeypatch, normalization, optimizer
):
    """Interrupted twice, once in the middle of a log window and of an epoch; lrn stands for the
    head with dropout.
    """

    def backbone():
        return tiny_backbone(normalization)

    options = dict(name=optimizer, backbone=backbone, weight_decay=1e-3, bias_multiplier=2.0)
    straight, straight_metrics, _ = run(tiny_task(image_dir), tmp_path / "straight", 10, **options)
    for stop_at in (3, 8):
        counted = interrupting_after(monkeypatch, stop_at - (3 if stop_at == 8 else 0))
        with pytest.raises(Interrupted, match=f"step {stop_at};"):
            run(tiny_task(image_dir), tmp_path / "broken", 10, **options)
        assert counted
        monkeypatch.undo()
    resumed, resumed_metrics, _ = run(tiny_task(image_dir), tmp_path / "broken", 10, **options)
    for ours, theirs in zip(straight.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
    assert straight_metrics == resumed_metrics


def interrupting_after(monkeypatch, steps):
    """Makes the loop see a signal after `steps` steps."""
    counted = []
    import contextlib

    @contextlib.contextmanager
    def fake():
        def stopping():
            counted.append(1)
            return len(counted) >= steps

        yield stopping

    monkeypatch.setattr(loop.signals, "stop_on_signal", fake)
    return counted


@pytest.mark.parametrize("stop_at", [6, 10])
def test_signal_ends_an_evaluation_at_once_and_the_next_run_makes_up_for_it(
    image_dir, tmp_path, monkeypatch, stop_at
):
    """Of detectors it takes hours; before, the signal was kept until its end, and after the last
    one forgotten.
    """
    _, straight, _ = run(tiny_task(image_dir), tmp_path / "straight", 10, eval_steps=3)

    def stopped(self, model):
        if calls.append(None) or len(calls) == -(-stop_at // 3):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
        return dict(loss=1.0)

    calls = []
    monkeypatch.setattr(JigsawPP, "evaluate", stopped)
    started = time.monotonic()
    with pytest.raises(Interrupted, match="signal; the same command continues"):
        run(tiny_task(image_dir), tmp_path / "broken", 10, eval_steps=3)
    assert (tmp_path / "broken" / "checkpoints" / f"ckpt-{stop_at}.index").is_file()
    assert time.monotonic() - started < 20
    monkeypatch.undo()
    _, resumed, _ = run(tiny_task(image_dir), tmp_path / "broken", 10, eval_steps=3)
    assert [record["step"] for record in resumed["history"]["evaluation"]] == [3, 6, 9, 10]
    assert (resumed["history"]["train"], resumed["evaluation"]) == (
        straight["history"]["train"],
        straight["evaluation"],
    )


def test_accumulation_equals_one_large_batch_without_batch_statistics(image_dir, tmp_path):
    results = []
    for parts in (1, 2):
        task = tiny_task(image_dir)
        options = dict(
            name="sgd",
            backbone=lambda: tiny_backbone("lrn"),
            accumulate_steps=parts,
            weight_decay=1e-2,
        )
        results.append(run(task, tmp_path / str(parts), 3, **options)[0])
    for ours, theirs in zip(*(model.trainable_variables for model in results), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5, err_msg=ours.path)


def test_checkpoint_of_other_data_is_refused(image_dir, tmp_path):
    run(tiny_task(image_dir), tmp_path, 2, fingerprints=dict(data="a"))
    with pytest.raises(InputError, match="another data"):
        run(tiny_task(image_dir), tmp_path, 4, fingerprints=dict(data="b"))


def test_damaged_checkpoint_falls_back_to_the_one_before(image_dir, tmp_path, capsys):
    run(tiny_task(image_dir), tmp_path / "run", 4, checkpoint_steps=2)
    straight, *_ = run(tiny_task(image_dir), tmp_path / "straight", 6, checkpoint_steps=2)
    data_file = next((tmp_path / "run/checkpoints").glob("ckpt-4.data*"))
    data_file.write_bytes(data_file.read_bytes()[:1000])
    resumed, *_ = run(tiny_task(image_dir), tmp_path / "run", 6, checkpoint_steps=2)
    assert "ckpt-4: unreadable" in capsys.readouterr().out
    assert backbone_fingerprint(straight.backbone) == backbone_fingerprint(resumed.backbone)


def test_loss_that_is_not_finite_stops_the_run(image_dir, tmp_path):
    with pytest.raises(InputError, match="not finite at step"):
        run(
            tiny_task(image_dir),
            tmp_path,
            20,
            name="sgd",
            backbone=lambda: tiny_backbone("none"),
            bias_multiplier=1e30,
        )
    assert not (tmp_path / "checkpoints/ckpt-20.index").exists()


@pytest.mark.parametrize("batch_size, parts", [(12, 1), (16, 4), (24, 2)])
def test_batches_that_break_puzzle_groups_are_refused(image_dir, tmp_path, batch_size, parts):
    with pytest.raises(InputError, match=f"--batch_size={batch_size}"):
        run(tiny_task(image_dir), tmp_path, 2, batch_size=batch_size, accumulate_steps=parts)


REPLICAS = """
import sys
import tensorflow as tf
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import numpy as np
from absl import flags
sys.path.insert(0, sys.argv[1])
image_dir, workdir = sys.argv[2:]
from ccssl_tf.distribution import make_strategy
flags.FLAGS(["test"])
import test_loop as test_training
# One strategy a process: a second one would number its collective operations as the first did.
strategies = {name: make_strategy(name) for name in ("one", "mirrored")}
models = {}
for normalization in ("batch_norm", "lrn"):
    for name in ("one", "mirrored"):
        task = test_training.tiny_task(image_dir)
        strategy = strategies[name]
        assert strategy.num_replicas_in_sync == (2 if name == "mirrored" else 1)
        models[name], metrics, _ = test_training.run(
            task, f"{workdir}/{normalization}-{name}", 4, name="sgd", weight_decay=1e-2,
            backbone=lambda: test_training.tiny_backbone(normalization), strategy=strategy,
        )
    for one, two in zip(models["one"].variables, models["mirrored"].variables, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-5, atol=2e-5, err_msg=one.path)
print("equal")
"""  # noqa: E501


def test_two_logical_devices_end_with_the_weights_of_one(image_dir, tmp_path):
    """With synchronised batch normalisation, and with the head's dropout."""
    here = os.path.dirname(__file__)
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS, here, str(image_dir), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stdout + done.stderr


def command(image_dir, workdir, *more):
    return [
        *(
            sys.executable,
            "-m",
            "ccssl_tf.train",
            "--task=jigsaw_pp",
            f"--data_dir={image_dir}",
            f"--workdir={workdir}",
        ),
        *(
            "--image_size=32",
            "--width_multiplier=0.1",
            "--num_permutations=10",
            "--permutations_per_image=2",
            "--tile_fc6_units=16",
        ),
        *(
            "--puzzle_fc7_units=32",
            "--batch_size=16",
            "--train_steps=40",
            "--checkpoint_steps=5",
            "--log_steps=3",
            *more,
        ),
    ]


@pytest.mark.slow
def test_killed_at_random_times_the_command_ends_with_the_same_result(image_dir, tmp_path):
    subprocess.run(command(image_dir, tmp_path / "straight"), check=True, capture_output=True)
    random = np.random.default_rng(0)
    killed = 0
    for attempt in range(20):
        process = subprocess.Popen(
            command(image_dir, tmp_path / "killed"), stdout=subprocess.PIPE, text=True
        )
        for line in process.stdout:
            if line.startswith("train "):
                break
        time.sleep(random.uniform(0, 4))
        process.send_signal(signal.SIGTERM if attempt % 5 == 4 else signal.SIGKILL)
        killed += process.wait() != 0
    subprocess.run(command(image_dir, tmp_path / "killed"), check=True, capture_output=True)
    assert killed
    for name in ("backbone.json", "metrics.json"):
        straight, resumed = (
            json.loads((tmp_path / run / name).read_text()) for run in ("straight", "killed")
        )
        assert straight == resumed

import json

import keras
import numpy as np
import pytest

from ccssl_tf import extract, registry
from ccssl_tf.clustering.rows.sources import DirectorySource
from ccssl_tf.data import image_batches, records
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.features.endpoint import EndpointExtractor
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone_file import save_backbone
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.files import file_sha256
from ccssl_tf.runs.run_record import input_fingerprint

SIZE = 32


def tiny_backbone(**arguments):
    keras.utils.set_random_seed(3)
    return AlexNet(
        **dict(
            dict(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=()),
            **arguments,
        )
    )


def command(*words, **values):
    """Runs the command, with flags as words or by name."""
    flags = [f"--{name}={value}" for name, value in values.items()]
    extract.main(extract.COMMAND.parse([*words, *flags]))


def rows_of(directory):
    return np.concatenate(list(DirectorySource(directory).chunks(64)))


def recorded(directory):
    """The lines of a run's flags.txt but for its own directory."""
    lines = (directory / "flags.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("--workdir=")]


def test_a_dry_run_counts_the_rows_of_an_array(tmp_path, image_dir):
    np.save(tmp_path / "few.npy", np.zeros([15, 2]))
    settings = dict(
        extractor="external", features_file=tmp_path / "few.npy", data_dir=image_dir, split="val"
    )
    with pytest.raises(InputError, match="15 rows for the 16 images of split val"):
        command("--dry_run", **settings, workdir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_uses_whole_image_stride_and_size(tmp_path, image_dir, capsys):
    tiles = tiny_backbone(stem="standard", normalization="lrn", conv1_stride=2, image_size=64)
    (tmp_path / "run").mkdir()
    save_backbone(tiles, tmp_path / "run")
    settings = dict(
        init_backbone=tmp_path / "run",
        data_dir=image_dir,
        split="val",
        image_size=131,
        endpoint="conv4",
        pool_grid=2,
    )
    command("--dry_run", **settings, workdir=tmp_path / "dry")
    assert not (tmp_path / "dry").exists() and "16 images" in capsys.readouterr().out
    command(**settings, workdir=tmp_path / "out", feature_dtype="float32")
    with pytest.raises(InputError, match="--feature_dtype=float32, not --feature_dtype=float16"):
        command("--dry_run", **settings, workdir=tmp_path / "out", feature_dtype="float16")
    manifest = manifest_lib.Manifest.read(tmp_path / "out", "features")
    (path,) = (tmp_path / "out").glob("*.tfrecord")
    blocks = [
        records.parse_features(block, manifest.info["dim"], "float32")
        for block in records.read_shard(path)
    ]
    index, rows = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    assert manifest.info["extractor"]["backbone"]["conv1_stride"] == 4
    assert (tmp_path / "out" / "DONE").is_file() and len(index) == 16
    assert input_fingerprint(tmp_path / "out") == manifest.fingerprint()
    whole = AlexNet(**{**tiles.get_config(), "conv1_stride": 4})
    whole.set_weights(tiles.get_weights())
    extractor = EndpointExtractor(
        whole, endpoint="conv4", pool_grid=2, pooling="max", image_size=131, batch_size=256
    )
    np.testing.assert_allclose(
        rows, next(iter(extractor.batches(image_dir, "val", [0])))[1], rtol=1e-4, atol=1e-5
    )
    capsys.readouterr()
    command(**settings, workdir=tmp_path / "out", feature_dtype="float32")
    assert "already complete" in capsys.readouterr().out


def test_a_random_backbone_depends_on_the_seed_alone(tmp_path, image_dir):
    settings = dict(data_dir=image_dir, split="val", image_size=SIZE, width_multiplier=0.1)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        command(**settings, seed=seed, workdir=tmp_path / name)
    prints = [
        manifest_lib.Manifest.read(tmp_path / name, "features").fingerprint("val") for name in "abc"
    ]
    assert prints[0] == prints[1] != prints[2]


def test_the_command_needs_images_and_a_directory(tmp_path, image_dir):
    with pytest.raises(FlagError, match="^--data_dir: not given"):
        command(workdir=tmp_path / "out")
    with pytest.raises(InputError, match="no such directory"):
        command(data_dir=tmp_path / "none", workdir=tmp_path / "out")
    with pytest.raises(FlagError, match="^--workdir: not given"):
        command(data_dir=image_dir)


@pytest.fixture
def network(tmp_path):
    """Somebody else's network, in a file."""
    keras.utils.set_random_seed(0)
    images = keras.Input([None, None, 3])
    model = keras.Model(images, keras.layers.Conv2D(5, 3, strides=2, name="maps")(images))
    model.save(tmp_path / "net.keras")
    return model


def test_a_network_of_others(tmp_path, image_dir, network, capsys):
    words = [
        "--extractor=external",
        f"--data_dir={image_dir}",
        "--split=val",
        "--image_size=32",
        f"--model={tmp_path / 'net.keras'}",
        "--input_range=-1,1",
        "--feature_dtype=float32",
        f"--workdir={tmp_path / 'rows'}",
    ]
    command(*words)
    manifest = manifest_lib.Manifest.read(tmp_path / "rows", "features")
    assert manifest.info["backbone_fingerprint"] == file_sha256(tmp_path / "net.keras")
    assert manifest.info["extractor"] == dict(
        name="external",
        model="net.keras",
        kind="keras",
        output="maps",
        image_size=32,
        input=dict(range=[-1, 1], mean=[0, 0, 0], std=[1, 1, 1], channels="RGB"),
        pool_grid=1,
        pooling="average",
    )
    assert "model" in json.loads((tmp_path / "rows" / "run.json").read_text())["inputs"]
    command(*words)
    assert "already complete" in capsys.readouterr().out
    batch = next(
        iter(image_batches.evaluation_images(image_dir, "val", image_size=32, batch_size=16))
    )
    expected = np.mean(network(np.float32(batch["image"]) / 127.5 - 1), (1, 2))
    np.testing.assert_allclose(rows_of(tmp_path / "rows"), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(
        InputError, match="--input_range=-1.0,1.0, not --input_range=0.0,1.0; name another"
    ):
        command(*[word.replace("-1,1", "0,1") for word in words])


EXTRACTORS = {
    "endpoint": ["--extractor=endpoint", "--endpoint=conv3", "--width_multiplier=0.1", "--seed=7"],
    "endpoint of a file": ["--init_backbone={run}", "--pool_grid=2"],
    "rows": ["--extractor=external", "--features_file={run}/rows.npy"],
    "network": ["--extractor=external", "--model={net}", "--input_range=0,1", "--image_size=32"],
    "network and grid": ["--extractor=external", "--model={net}", "--input_range=0,1"]
    + ["--image_size=32", "--pool_grid=3"],
    "network by name": ["--extractor=external", "--model=MobileNetV2", "--weights=random"]
    + ["--width_multiplier=0.1", "--image_size=32", "--pooling=max"],
    "hog": ["--extractor=hog", "--hog_words=12", "--hog_sample_images=16", "--hog_grid=2"]
    + ["--image_size=40"],
}


@pytest.mark.parametrize("words", EXTRACTORS.values(), ids=EXTRACTORS)
def test_its_own_flags_give_the_same_settings_and_rows(tmp_path, image_dir, network, words):
    run = tmp_path / "run"
    run.mkdir()
    save_backbone(tiny_backbone(), run)
    np.save(run / "rows.npy", np.random.default_rng(0).normal(size=(16, 3)))
    words = [word.format(run=run, net=tmp_path / "net.keras") for word in words]
    if not any(word.startswith(("--image_size", "--features_file")) for word in words):
        words += ["--image_size=32"]
    shared = [f"--data_dir={image_dir}", "--split=val"]
    first, again = tmp_path / "first", tmp_path / "again"
    command(*words, *shared, f"--workdir={first}")
    command(f"--flagfile={first / 'flags.txt'}", f"--workdir={again}")
    assert recorded(again) == recorded(first)
    assert rows_of(again).tobytes() == rows_of(first).tobytes()
    ours, theirs = (manifest_lib.Manifest.read(path, "features") for path in (again, first))
    assert ours == theirs
    # It is the same run also where it is given again in its own directory.
    command("--dry_run", f"--flagfile={first / 'flags.txt'}")
    command("--dry_run", *words, *shared, f"--workdir={first}")


def test_a_run_of_an_older_version_goes_on(tmp_path, image_dir, network):
    words = [
        "--extractor=external",
        f"--model={tmp_path / 'net.keras'}",
        "--input_range=0,1",
        "--split=val",
        f"--data_dir={image_dir}",
    ]
    out = tmp_path / "out"
    command(*words, f"--workdir={out}")
    # What was left open was recorded as the flags' defaults, which are not what ran.
    automatic = dict(pool_grid=5, pooling="max", image_size=227, batch_size=256)
    lines = [line for line in recorded(out) if line[2:].split("=")[0] not in automatic]
    lines = [line for line in lines if not line.startswith("--output=")]
    lines += [f"--{name}={value}" for name, value in automatic.items()]
    (out / "flags.txt").write_text("".join(f"{line}\n" for line in lines))
    record = json.loads((out / "run.json").read_text())
    for name in ("settings", "flags", "checksum"):
        del record[name]
    (out / "run.json").write_text(json.dumps(record))
    command("--dry_run", *words, f"--workdir={out}")
    with pytest.raises(InputError, match="already holds a run with --pooling=max, not"):
        command("--dry_run", *words, "--pooling=average", f"--workdir={out}")


@pytest.mark.parametrize("name", registry.EXTRACTORS)
def test_help_lists_the_flags_of_an_extractor(name):
    text = extract.COMMAND.help([f"--extractor={name}", "--help"])
    assert f"--extractor={name}:" in text and "--feature_dtype: " in text
    for other in ("hog_words", "features_file", "endpoint", "init_backbone"):
        of = dict(hog_words="hog", features_file="external").get(other, "endpoint")
        assert (f"  --{other}: " in text) == (of == name), other


def test_help_alone_lists_the_extractors_and_the_flags_of_a_run_that_names_none():
    text = extract.COMMAND.help(["--help"])
    for name in registry.EXTRACTORS:
        assert f"\n  {name}  " in text
    assert "--feature_dtype: " in text and "--pool_grid: " in text
    assert "--hog_words: " not in text and "--features_file: " not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hog_words=3"], "--hog_words is a flag of --extractor=hog; not of the default: leave"),
        (["--extractor=hog", "--backbone=vgg16"], "--backbone is a flag of --extractor=endpoint"),
        (["--extractor=hog", "--train_steps=3"], "--train_steps is a flag of ccssl_tf.train;"),
        (["--num_permutations=3"], "--num_permutations is a flag of ccssl_tf.train --task=jigsaw"),
        (["--extractor=sift"], "--extractor=sift: unknown; there are endpoint, external, hog"),
        (
            ["--extractor=external", "--features_file=a.npy", "--output=b"],
            "--output=b: is about --model",
        ),
    ],
)
def test_flags_that_cannot_matter_are_refused(words, message):
    with pytest.raises(FlagError, match=f"^{message}"):
        command("--data_dir=a", "--workdir=b", *words)


def test_a_dry_run_of_hog_learns_and_writes_nothing(tmp_path, image_dir, capsys):
    words = ["--extractor=hog", "--hog_words=12", "--hog_grid=2", "--image_size=40", "--dry_run"]
    command(*words, data_dir=image_dir, workdir=tmp_path / "out")
    assert "48 images, split train, to rows of 48 float16" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []

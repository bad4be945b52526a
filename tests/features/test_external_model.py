"""Someone else's network as the teacher: its pixels, its pooling, what is recorded of it, and the
whole command.
"""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from ccssl_tf import extract
from ccssl_tf.data import pipeline
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features.external import ExternalExtractor
from ccssl_tf.features.external_model import ExternalModelExtractor
from ccssl_tf.features.extraction import extract_features
from ccssl_tf.features.model_files import OpenedModel
from ccssl_tf.models.input_convention import InputConvention
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.files import file_sha256

PIXELS = np.random.default_rng(0).integers(0, 256, [2, 8, 8, 3]).astype(np.uint8)


def identity(**options):
    return OpenedModel(
        **dict(
            dict(kind="keras", call=lambda images: images, output="pixels", digest="d"), **options
        )
    )


def extractor(opened, **options):
    settings = dict(
        name="net.keras",
        convention=InputConvention((0, 255)),
        pool_grid=1,
        pooling="average",
        image_size=8,
        batch_size=6,
    )
    return ExternalModelExtractor(opened, **dict(settings, **options))


def test_maps_vectors_and_tokens_become_rows():
    mean = PIXELS.mean((1, 2))
    np.testing.assert_allclose(extractor(identity()).rows(PIXELS), mean, rtol=1e-5)
    np.testing.assert_allclose(
        extractor(identity(), pooling="max").rows(PIXELS), PIXELS.max((1, 2))
    )
    assert extractor(identity(), pool_grid=4).dim == 4 * 4 * 3
    tokens = identity(call=lambda images: tf.reshape(images, [-1, 64, 3]))
    np.testing.assert_allclose(extractor(tokens).rows(PIXELS), mean, rtol=1e-5)
    vectors = identity(call=lambda images: tf.reduce_mean(images, [1, 2]))
    np.testing.assert_allclose(extractor(vectors).rows(PIXELS), mean, rtol=1e-5)
    with pytest.raises(
        InputError, match=r"--output=pixels: is \['n'\]; for each image a vector, tokens or"
    ):
        extractor(identity(call=lambda images: tf.reduce_mean(images, [1, 2, 3])))


def test_how_pixels_are_taken_must_be_said_once():
    with pytest.raises(
        InputError, match="--model=net.keras: say what it takes pixels for: --input_range="
    ):
        extractor(identity(), convention=None)
    with pytest.raises(InputError, match="--input_range: net.keras brings its own preprocessing"):
        extractor(identity(normalize=lambda images: images))


def test_sizes():
    asked = []
    watched = dict(call=lambda images: asked.append(images.shape[1]) or images)
    for options, image_size in (
        (dict(image_size=16), None),
        (dict(usual_size=24), None),
        (dict(usual_size=24), 8),
        ({}, None),
    ):
        extractor(identity(**watched, **options), image_size=image_size)
    assert list(dict.fromkeys(asked)) == [16, 24, 8, 227]
    with pytest.raises(InputError, match="--image_size=8: net.keras takes images of 16 pixels"):
        extractor(identity(image_size=16), image_size=8)

    def broken(images):
        raise ValueError("no\nsuch size")

    with pytest.raises(
        InputError, match=r"--model=net.keras: cannot be run on images \[n, 8, 8, 3\] \(.*no\)"
    ):
        extractor(identity(call=broken))


def test_either_rows_or_a_network():
    for values in (dict(), dict(features_file="a.npy", model="ResNet50")):
        with (
            flagsaver.flagsaver(**values),
            pytest.raises(
                FlagError, match="either --features_file=FILE, .* or --model=PATH_OR_NAME"
            ),
        ):
            ExternalExtractor.from_flags(None)


@pytest.fixture
def network(tmp_path):
    keras.utils.set_random_seed(0)
    images = keras.Input([None, None, 3])
    model = keras.Model(images, keras.layers.Conv2D(5, 3, strides=2, name="maps")(images))
    model.save(tmp_path / "net.keras")
    return model


def command(image_dir, workdir, *words):
    """Runs the command with the flags given as typed."""
    with flagsaver.flagsaver():
        flags.FLAGS(
            [
                "extract",
                "--extractor=external",
                f"--data_dir={image_dir}",
                f"--workdir={workdir}",
                *words,
            ]
        )
        extract.main()
        for name in ("image_size", "pool_grid", "pooling"):
            flags.FLAGS[name].present = 0


def test_the_command(image_dir, tmp_path, network, capsys):
    words = [
        "--image_size=32",
        f"--model={tmp_path / 'net.keras'}",
        "--input_range=-1,1",
        "--split=val",
        "--feature_dtype=float32",
    ]
    command(image_dir, tmp_path / "rows", *words)
    manifest = Manifest.read(tmp_path / "rows", "features")
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
    assert '"model"' in (tmp_path / "rows" / "run.json").read_text()
    command(image_dir, tmp_path / "rows", *words)
    assert "already complete" in capsys.readouterr().out
    from ccssl_tf.clustering.sources import DirectorySource

    images = next(iter(pipeline.evaluation_images(image_dir, "val", image_size=32, batch_size=16)))[
        "image"
    ]
    expected = np.mean(network(tf.cast(images, tf.float32) / 127.5 - 1), (1, 2))
    found = np.concatenate(list(DirectorySource(tmp_path / "rows").chunks(64)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="--input_range=-1,1, not .*; name another directory"):
        command(image_dir, tmp_path / "rows", *[word.replace("-1,1", "0,1") for word in words])


ON_TWO_DEVICES = """
import sys
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from ccssl_tf.features.external_model import ExternalModelExtractor
from ccssl_tf.models.input_convention import InputConvention
from ccssl_tf.features.model_files import open_model
rows = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    with strategy.scope():
        opened = open_model(sys.argv[1], output=None, weights=None, trust=True)
        settings = dict(name="a", convention=InputConvention((0, 1)), pool_grid=1, pooling="average", image_size=32, batch_size=5)
        extractor = ExternalModelExtractor(opened, **settings)
    rows.append(np.concatenate([features for _, features in extractor.batches(sys.argv[2], "train", [0])]))
assert rows[0].shape == (16, 5)
np.testing.assert_allclose(rows[0], rows[1], rtol=1e-5, atol=1e-6)
"""  # noqa: E501


@pytest.mark.slow
def test_two_replicas_give_the_rows_of_one(image_dir, tmp_path, network):
    network.export(tmp_path / "saved", verbose=False)
    arguments = [str(tmp_path / "saved"), str(image_dir)]
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_rows_that_are_not_finite_are_refused_with_shard_and_record(image_dir, tmp_path):
    def spoiled(images):
        rows = tf.reduce_mean(images, [1, 2])
        return tf.where(tf.range(tf.shape(rows)[0])[:, None] == 4, np.nan, rows)

    (tmp_path / "out").mkdir()
    with pytest.raises(
        ValueError,
        match=r"train-00000-of-00003.tfrecord: 3 of 18 features .*, the first of record 4 "
        r"\(image/index 4\)",
    ):
        extract_features(extractor(identity(call=spoiled)), image_dir, "train", tmp_path / "out")

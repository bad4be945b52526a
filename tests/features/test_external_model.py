"""Someone else's network as the teacher: its pixels, its pooling, and what was left open."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.features.external_model import ExternalModelExtractor
from ccssl_tf.features.extraction import extract_features
from ccssl_tf.features.opened_model import OpenedModel
from ccssl_tf.runs.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, [2, 8, 8, 3]).astype(np.uint8)


def identity(**options):
    return OpenedModel(
        **dict(
            dict(kind="keras", call=lambda images: images, output="pixels", digest="d"), **options
        )
    )


def extractor(opened, **fields):
    settings = dict(
        model="net.keras", input_range=(0, 255), pool_grid=1, pooling="average", image_size=8
    )
    return ExternalModelExtractor(opened, **dict(settings, **dict(dict(batch_size=6), **fields)))


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


def _sequence(images):
    """A class token of ones, four registers of 1000 and a token for each 2x2 pixels."""
    patches = tf.nn.avg_pool2d(tf.cast(images, tf.float32), 2, 2, "VALID")
    count = tf.shape(images)[0]
    front = [tf.ones([count, 1, 3]), tf.fill([count, 4, 3], 1000.0)]
    return tf.concat([*front, tf.reshape(patches, [-1, 16, 3])], 1)


def test_tokens_of_a_transformer(capsys):
    opened = identity(call=_sequence)
    patches = PIXELS.astype(np.float32).reshape(2, 4, 2, 4, 2, 3).mean((2, 4))
    expected = {
        "cls": np.ones([2, 3]),
        "mean": patches.mean((1, 2)),
        "all": (patches.sum((1, 2)) + 1 + 4000) / 21,
        "patches": patches.mean((1, 2)),
    }
    for tokens, rows in expected.items():
        found = extractor(opened, tokens=tokens)
        np.testing.assert_allclose(found.rows(PIXELS), rows, rtol=1e-4)
        told = found.describe()["extractor"]
        if tokens != "all":
            assert (told["tokens"], told["prefix_tokens"]) == (tokens, 5)
    assert "21 tokens: 5 in front of 4 x 4 patches; --tokens=patches" in capsys.readouterr().out
    grid = extractor(opened, tokens="patches", pool_grid=2, pooling="max")
    blocks = patches.reshape(2, 2, 2, 2, 2, 3).max((2, 4))
    np.testing.assert_allclose(grid.rows(PIXELS), blocks.reshape(2, 12), rtol=1e-4)
    np.testing.assert_allclose(extractor(opened).rows(PIXELS), expected["all"], rtol=1e-4)


def test_tokens_that_cannot_be_told_apart():
    opened = identity(call=_sequence)
    with pytest.raises(InputError, match="--prefix_tokens=3: the output has 21 tokens, and 18"):
        extractor(opened, tokens="mean", prefix_tokens=3)
    with pytest.raises(InputError, match="--tokens: output pixels is .*no sequence of tokens"):
        extractor(identity(), tokens="cls")
    ambiguous = identity(call=lambda images: tf.reshape(images, [-1, 64, 3])[:, :17])
    with pytest.raises(InputError, match="the output has 17 tokens, of which .* say --prefix_tok"):
        extractor(ambiguous, tokens="mean", image_size=24)
    whole = identity(call=lambda images: tf.reshape(images, [-1, 64, 3]))
    with pytest.raises(InputError, match="the output's 64 tokens are all patches"):
        extractor(whole, tokens="cls")


def test_how_pixels_are_taken_must_be_said_once():
    with pytest.raises(
        InputError, match="--model=net.keras: say what it takes pixels for: --input_range="
    ):
        extractor(identity(), input_range=None)
    with pytest.raises(InputError, match="--input_range: net.keras brings its own preprocessing"):
        extractor(identity(normalize=lambda images: images))


def test_sizes():
    asked = []
    watched = dict(call=lambda images: asked.append(images.shape[1]) or images)
    for options, image_size in (
        (dict(image_size=16), None),
        (dict(usual_size=24), None),
        (dict(usual_size=24), 9),
        ({}, None),
    ):
        extractor(identity(**watched, **options), image_size=image_size)
    assert list(dict.fromkeys(asked)) == [16, 24, 9, 227]
    with pytest.raises(InputError, match="--image_size=8: net.keras takes images of 16 pixels"):
        extractor(identity(image_size=16), image_size=8)

    def broken(images):
        raise ValueError("no\nsuch size")

    with pytest.raises(
        InputError, match=r"--model=net.keras: cannot be run on images \[n, 8, 8, 3\] \(.*no\)"
    ):
        extractor(identity(call=broken))


@pytest.fixture
def network(tmp_path):
    keras.utils.set_random_seed(0)
    images = keras.Input([None, None, 3])
    model = keras.Model(images, keras.layers.Conv2D(5, 3, strides=2, name="maps")(images))
    model.save(tmp_path / "net.keras")
    return model


def test_settings_that_were_left_open(tmp_path):
    def ran(opened=None, **fields):
        fields = dict(dict(input_range=(0, 255), pool_grid=None, pooling=None), **fields)
        return extractor(opened or identity(), **fields).settings

    for given, resolved in (
        (dict(), (1, "average")),
        (dict(pool_grid=2), (2, "max")),
        (dict(pooling="max"), (1, "max")),
        (dict(pool_grid=3, pooling="average"), (3, "average")),
    ):
        settings = ran(**given)
        assert (settings.pool_grid, settings.pooling) == resolved, given
    settings = ran(image_size=None, batch_size=None)
    assert (settings.image_size, settings.batch_size, settings.output) == (227, 256, "pixels")
    assert ran(identity(usual_size=24), image_size=None).image_size == 24


def test_methods_work_in_any_order(image_dir, tmp_path):
    first = extractor(identity())
    described = first.describe()
    first.prepare(image_dir, "val", tmp_path)
    rows = [rows for _, rows in first.batches(image_dir, "val", [0])]
    first.check(image_dir, "val")
    assert first.inputs() == {} and first.describe() == described
    second = extractor(identity())
    for one, other in zip(rows, second.batches(image_dir, "val", [0]), strict=True):
        np.testing.assert_array_equal(one, other[1])


ON_TWO_DEVICES = """
import sys
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from ccssl_tf.features.external_model import ExternalModelExtractor
from ccssl_tf.features.model_files import open_model
rows = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    with strategy.scope():
        opened = open_model(sys.argv[1], output=None, weights=None, trust=True)
        settings = dict(model="a", trust_model=True, input_range=(0, 1), image_size=32, batch_size=5)
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

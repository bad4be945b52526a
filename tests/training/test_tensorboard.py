"""Events as TensorBoard itself reads them."""

import contextlib

import keras
import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import plugin_data_pb2

from ccssl_tf.training.tensorboard import Board, describe


def read(directory):
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(directory))
    return multiplexer.Reload()


def test_training_and_held_out_images_share_a_chart(tmp_path):
    board = Board(tmp_path)
    board.scalars("train", dict(loss=1.0, learning_rate=0.1), 5)
    board.scalars("held_out", dict(loss=2.0), 5)
    board.flush()
    events = read(tmp_path)
    points = {
        (run, tag): [
            (event.step, float(tf.make_ndarray(event.tensor_proto)))
            for event in events.Tensors(run, tag)
        ]
        for run in ("train", "held_out")
        for tag in events.GetAccumulator(run).Tags()["tensors"]
    }
    assert points == {
        ("train", "loss"): [(5, 1.0)],
        ("train", "learning_rate"): [(5, np.float32(0.1))],
        ("held_out", "loss"): [(5, 2.0)],
    }
    board.close()


def test_the_settings_stand_beside_the_curves(tmp_path):
    describe(tmp_path, "python -m x --a=3", dict(a=3, b=0.5, c="word", d=True))
    with contextlib.closing(Board(tmp_path)) as board:
        board.scalars("held_out", dict(accuracy=0.5), 1)
    events = read(tmp_path)
    (text,) = events.Tensors(".", "command")
    assert tf.make_ndarray(text.tensor_proto).item() == b"    python -m x --a=3\n" + b"".join(
        b"    --%s\n" % flag for flag in (b"a=3", b"b=0.5", b"c=word", b"d=True")
    )
    content = events.GetAccumulator(".").SummaryMetadata("_hparams_/session_start_info")
    start = plugin_data_pb2.HParamsPluginData.FromString(content.plugin_data.content)
    # What the page calls the run.
    assert start.session_start_info.group_name == str(tmp_path)
    told = start.session_start_info.hparams
    assert told["a"].number_value == 3 and told["b"].number_value == 0.5
    assert told["c"].string_value == "word" and told["d"].bool_value is True


def test_pictures_and_histograms(tmp_path):
    model = keras.Sequential(
        [keras.Input([2]), keras.layers.Dense(3, name="dense")], name="sequential"
    )
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    with contextlib.closing(Board(tmp_path)) as board:
        board.pictures(dict(one=picture), 4)
        board.histograms(model, 4)
    events = read(tmp_path)
    assert events.GetAccumulator(".").Tags()["tensors"] == ["one"]
    tags = events.GetAccumulator("train").Tags()["tensors"]
    assert {tag.removeprefix("sequential/") for tag in tags} == {"dense/kernel", "dense/bias"}
    png = tf.io.decode_png((tmp_path / "pictures/one.png").read_bytes())
    np.testing.assert_array_equal(png.numpy(), picture)

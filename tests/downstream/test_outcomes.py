"""Which images are answered rightly, as kept beside an evaluation."""

import contextlib

import numpy as np
import pytest

from ccssl_tf.downstream import outcomes
from ccssl_tf.downstream.linear_probe import LinearProbe
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.runs.errors import CorruptArtifactError


def make_probe(image_dir, **options):
    task = LinearProbe(data_dir=str(image_dir), image_size=32, probe_grids=(2,), **options)
    return task, task.build_model(AlexNet(stem="small", width_multiplier=0.1, fc_units=()))


@pytest.mark.parametrize("batch_size", [3, 64])
def test_they_are_those_the_accuracy_counts(image_dir, batch_size):
    task, model = make_probe(image_dir, eval_batch_size=batch_size)
    right = task.outcomes(model)
    accuracy = task.evaluate(model).metrics
    assert list(right) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    for layer, answers in right.items():
        assert answers.shape == (16,)
        assert answers.mean() == pytest.approx(accuracy[f"accuracy/{layer}"])
    # One image at a time, and in the order of the images.
    alone, alone_model = make_probe(image_dir, eval_batch_size=1)
    alone_model.set_weights(model.get_weights())
    for layer, answers in alone.outcomes(alone_model).items():
        np.testing.assert_array_equal(answers, right[layer])


def test_files_round_trip_and_damage_is_told(tmp_path):
    assert outcomes.read_outcomes(tmp_path) == {}
    rng = np.random.default_rng(0)
    written = {layer: rng.random(37) < 0.4 for layer in ("conv1", "fc6")}
    outcomes.write_outcomes(written, tmp_path)
    read = outcomes.read_outcomes(tmp_path)
    assert list(read) == list(written)
    for layer in written:
        np.testing.assert_array_equal(read[layer], written[layer])
    path = tmp_path / outcomes.FILE_NAME
    content = path.read_bytes()
    for damaged in (content[:100], content[:-30], content.replace(b"count", b"cound"), b"no zip"):
        path.write_bytes(damaged)
        with pytest.raises(CorruptArtifactError, match=r"outcomes\.npz"):
            outcomes.read_outcomes(tmp_path)
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with contextlib.suppress(CorruptArtifactError):
            outcomes.read_outcomes(tmp_path)

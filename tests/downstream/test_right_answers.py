"""Which images are answered rightly, as kept beside an evaluation."""

import numpy as np
import pytest

from ccssl_tf.downstream.linear_probe import LinearProbe
from ccssl_tf.models.alexnet import AlexNet


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

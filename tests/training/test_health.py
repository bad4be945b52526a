"""What is looked at, and that a network that has collapsed is told from one that has not."""

import keras
import numpy as np
import pytest
from conftest import write_images

from ccssl_tf.data import image_batches
from ccssl_tf.downstream.linear_probe import LinearProbe
from ccssl_tf.metrics.feature_health import feature_health, has_collapsed
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.pretext.rotation import Rotation
from ccssl_tf.training.health import Health, health_of


@pytest.fixture
def task(image_dir):
    return Rotation(data_dir=str(image_dir), image_size=32, eval_batch_size=5)


def backbone(normalization="batch_norm"):
    keras.utils.set_random_seed(0)
    return AlexNet(stem="small", normalization=normalization, width_multiplier=0.1, fc_units=())


@pytest.mark.parametrize("count", [1000, 12])
def test_it_is_of_the_last_map_of_the_first_held_out_images(task, image_dir, count):
    network = backbone()
    images = image_batches.evaluation_images(image_dir, "val", image_size=32, batch_size=16)
    batch = next(iter(images))
    last = network.endpoint_names[-1]
    rows = network(network.normalize(batch["image"]), training=False)[last].numpy().mean((1, 2))
    expected = feature_health(rows[:count], batch["label"].numpy()[:count])
    found = Health(network, task, count).measure()
    assert found == pytest.approx(expected, rel=1e-4)
    assert not has_collapsed(found)


def test_few_images_and_evaluations_are_not_looked_at(task, image_dir, tmp_path):
    assert isinstance(health_of(backbone(), task, 1000), Health)
    assert health_of(backbone(), task, 9) is None
    probe = LinearProbe(data_dir=str(image_dir), image_size=32)
    assert health_of(backbone(), probe, 1000) is None
    for number, held_out in enumerate((dict(val=[9]), {})):
        write_images(tmp_path / str(number), dict(train=[8], **held_out))
        other = Rotation(data_dir=str(tmp_path / str(number)), image_size=32)
        assert health_of(backbone(), other, 1000) is None


@pytest.mark.parametrize("normalization", ["batch_norm", "lrn"])
def test_a_network_that_has_collapsed_is_told_from_a_random_one(task, normalization):
    network = backbone(normalization)
    health = Health(network, task, 1000)
    assert not has_collapsed(health.measure())
    layer = network.convolutions()[-1]
    kernel, *others = layer.get_weights()
    # The same channel again and again, the other group of channels sees nothing; then none does.
    one = np.repeat(kernel[..., :1], kernel.shape[-1], axis=-1)
    one[..., kernel.shape[-1] // 2 :] = 0
    for collapsed in (one, 0 * kernel):
        layer.set_weights([collapsed, *(np.ones_like(other) for other in others)])
        assert has_collapsed(health.measure())


def test_the_state_of_random_numbers_and_weights_stay(task):
    network = backbone()
    before = [variable.numpy() for variable in network.variables]
    keras.utils.set_random_seed(3)
    expected = float(keras.random.uniform([]))
    keras.utils.set_random_seed(3)
    Health(network, task, 1000).measure()
    assert float(keras.random.uniform([])) == expected
    for ours, theirs in zip(before, network.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())

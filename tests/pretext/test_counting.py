import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.ops import per_example_random as random
from ccssl_tf.pretext.counting import Counting
from ccssl_tf.pretext.halving import STYLES, halve
from ccssl_tf.runs.errors import FlagError


def make_task(image_dir, image_size=32, **changes):
    settings = dict(counting_fc_units=16, counting_units=12, eval_batch_size=8)
    return Counting(**dict(settings, data_dir=str(image_dir), image_size=image_size) | changes)


def small_alexnet():
    return AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())


@pytest.mark.parametrize(
    "image_size, short_side, crop",
    [(224, 256, 224), (227, 259, 226), (64, 64, 56), (32, 32, 28), (19, 19, 16)],
)
def test_sizes(image_dir, image_size, short_side, crop):
    task = make_task(image_dir, image_size)
    assert (task.settings.short_side, task.settings.crop) == (short_side, crop)
    assert next(iter(task.dataset("train", Epoch(8))))["image"].shape == (8, crop, crop, 3)


def test_too_small_an_image_is_refused(image_dir):
    with pytest.raises(
        FlagError,
        match=r"^--image_size=18: too small for a 2x2 grid of 8-pixel tiles; use 19 or more",
    ):
        make_task(image_dir, 18)


@pytest.mark.parametrize(
    "backbone, image_size",
    [
        (small_alexnet, 64),
        (lambda: VGG16(normalization="batch_norm", width_multiplier=0.1, fc_units=()), 64),
        (lambda: AlexNet(width_multiplier=0.1, fc_units=()), 224),
        pytest.param(lambda: VGG16(width_multiplier=0.1, fc_units=()), 224, marks=pytest.mark.slow),
    ],
)
def test_a_step_on_each_backbone_and_size(image_dir, backbone, image_size):
    task = make_task(image_dir, image_size)
    model = task.build_model(backbone())
    batch = next(iter(task.dataset("train", Epoch(8))))
    with tf.GradientTape() as tape:
        losses, metrics = task.loss(model, batch, training=True)
        total = tf.reduce_sum(losses)
    gradients = tape.gradient(total, [variable.value for variable in model.trainable_variables])
    assert all(value.shape == (8,) for value in (losses, *metrics.values()))
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)


def test_the_published_network_on_tiles(image_dir):
    """Five convolutions, then 3x3x256 -> 4096 -> 4096 -> 1000."""
    task = make_task(image_dir, 224, counting_fc_units=4096, counting_units=1000)
    model = task.build_model(AlexNet(fc_units=()))
    dense = [layer for layer in model.column.layers if isinstance(layer, keras.layers.Dense)]
    kernels = [tuple(layer.kernel.shape) for layer in dense]
    assert kernels == [(3 * 3 * 256, 4096), (4096, 4096), (4096, 1000)]


def test_views_against_loops(image_dir):
    task = make_task(image_dir)
    batch = next(iter(task.dataset("train", Epoch(16))))
    views = task.views(batch).numpy()
    assert views.shape == (16, 5, 14, 14, 3)
    styles = random.integers(batch["seed"], 1, 200, 4).numpy()[:, 0]
    num_gray = 0
    for number, image in enumerate(batch["image"].numpy().astype(np.float64)):
        quarters = views[number, 1:]
        is_gray = np.ptp(quarters, axis=-1).max() < 1e-3
        num_gray += is_gray
        image = np.repeat(image.mean(-1, keepdims=True), 3, -1) if is_gray else image
        image = (image - image.mean()) / image.std() * 50
        for row in (0, 1):
            for column in (0, 1):
                expected = image[14 * row : 14 * row + 14, 14 * column : 14 * column + 14]
                np.testing.assert_allclose(quarters[2 * row + column], expected, atol=0.01)
        halved = halve(tf.constant(image[None], tf.float32), styles[number : number + 1])[0]
        np.testing.assert_allclose(views[number, 0], halved, atol=0.02)
    assert num_gray in (0, 8, 16), "images of a group are grey together"


def test_grey_and_ways_of_halving_are_drawn_as_often_as_they_should(image_dir):
    task = make_task(image_dir, 19)
    seed = tf.stack([tf.zeros([3200], tf.int64), tf.range(3200, dtype=tf.int64)], 1)
    colors = tf.tile(
        tf.constant([[[[10, 60, 200]]]], tf.uint8) + tf.zeros([16, 16, 1], tf.uint8),
        [3200, 1, 1, 1],
    )
    is_gray = (
        np.ptp(task.views(dict(image=colors, seed=seed)).numpy()[:, 1], axis=-1).max((1, 2)) < 1e-3
    )
    np.testing.assert_array_equal(is_gray.reshape(-1, 8).min(1), is_gray.reshape(-1, 8).max(1))
    np.testing.assert_allclose(is_gray.mean(), 0.67, atol=0.07)
    counts = np.bincount(random.integers(seed, 1, 200, len(STYLES)).numpy()[:, 0])
    np.testing.assert_allclose(counts / 3200, 1 / 4, atol=0.03)


def test_loss_against_loops(image_dir):
    """Equation 4 of the source, its second term the mean over the other images of the group."""
    task = make_task(image_dir, counting_margin=0.01)
    model = task.build_model(small_alexnet())
    batch = next(iter(task.dataset("train", Epoch(16))))
    losses, metrics = task.loss(model, batch, training=False)
    views = task.views(batch)
    phi = np.array(
        [
            [model.column(view[None], training=False).numpy()[0] for view in image]
            for image in views
        ],
        np.float64,
    )
    assert (phi >= 0).all() and phi.max() > 0
    for number in range(16):
        group = [other for other in range(16) if other // 8 == number // 8 and other != number]
        summed = phi[number, 1:].sum(0)
        own = ((phi[number, 0] - summed) ** 2).sum()
        others = [((phi[other, 0] - summed) ** 2).sum() for other in group]
        np.testing.assert_allclose(
            losses[number],
            own + np.mean([max(0, 0.01 - distance) for distance in others]),
            rtol=1e-3,
        )
        np.testing.assert_allclose(metrics["own_distance"][number], own, rtol=1e-3)
        np.testing.assert_allclose(metrics["other_distance"][number], np.mean(others), rtol=1e-3)
        assert metrics["accuracy"][number] == (own < min(others))


def test_parts_of_a_batch_give_what_the_whole_gives(image_dir):
    """Two replicas or accumulation steps: groups of eight stay together."""
    task = make_task(image_dir)
    model = task.build_model(
        AlexNet(stem="small", normalization="none", width_multiplier=0.1, fc_units=())
    )
    batch = next(iter(task.dataset("train", Epoch(16))))
    whole = task.loss(model, batch, training=True)[0]
    parts = [
        task.loss(model, {name: value[part] for name, value in batch.items()}, training=True)[0]
        for part in (slice(8), slice(8, 16))
    ]
    np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-5)


def test_counts_start_at_the_scale_of_the_margin(image_dir):
    """Squared distances far above it would drive every count to zero for good."""
    for num_counts in (8, 512):
        task = make_task(image_dir, counting_units=num_counts)
        model = task.build_model(small_alexnet())
        _, metrics = task.loss(model, next(iter(task.dataset("train", Epoch(16)))), training=True)
        assert 2 < np.mean(metrics["own_distance"]) < 40


def test_a_network_that_counts_nothing_is_right_about_nothing(image_dir):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    model.column.get_layer("counts_norm").beta.assign(-1e6 * tf.ones(12))
    losses, metrics = task.loss(
        model, next(iter(task.dataset("val", Epoch(8, training=False)))), training=False
    )
    np.testing.assert_allclose(losses, 10)
    np.testing.assert_array_equal(metrics["accuracy"], 0)


def test_held_out_numbers_facts_and_pictures(image_dir):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    first = task.evaluate(model)
    assert first == task.evaluate(model) and set(first.metrics) == {
        "loss",
        "accuracy",
        "own_distance",
        "other_distance",
    }
    assert task.facts(model)["chance"] == 1 / 8
    picture = task.pictures(model)["counting"]
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3

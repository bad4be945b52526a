import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.pretext import context_patches
from ccssl_tf.pretext.context import Context


def make_task(image_dir, **changes):
    settings = dict(pairs_per_image=5, patch_fc6_units=16, pair_fc_units=16, eval_batch_size=8)
    return Context(**dict(settings, data_dir=str(image_dir), image_size=64) | changes)


def small_alexnet():
    return AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())


@pytest.mark.parametrize(
    "backbone, image_size",
    [
        (small_alexnet, 32),
        (lambda: VGG16(normalization="batch_norm", width_multiplier=0.1, fc_units=()), 64),
        (lambda: AlexNet(normalization="batch_norm", width_multiplier=0.1, fc_units=()), 254),
    ],
)
def test_a_step_on_each_backbone_and_size(image_dir, backbone, image_size):
    task = make_task(image_dir, image_size=image_size)
    model = task.build_model(backbone())
    batch = next(iter(task.dataset("train", Epoch(8))))
    with tf.GradientTape() as tape:
        losses, metrics = task.loss(model, batch, training=True)
        total = tf.reduce_sum(losses)
    gradients = tape.gradient(total, [variable.value for variable in model.trainable_variables])
    assert losses.shape == metrics["accuracy"].shape == (8,)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    np.testing.assert_allclose(tf.reduce_mean(losses), np.log(8), atol=0.8)


@pytest.mark.parametrize("color", ["none", "drop", "project"])
def test_colours_of_the_patches(image_dir, color):
    task = make_task(image_dir, color=color, downsample_probability=0.0)
    batch = next(iter(task.dataset("train", Epoch(16))))
    patches = task.patches(batch).numpy()
    assert patches.shape == (16, 4, 24, 24, 3)
    np.testing.assert_allclose(np.sqrt((patches**2).mean((2, 3, 4))), 50, rtol=1e-3)
    spread = patches.std((2, 3))
    if color == "drop":
        assert ((spread > 10).sum(-1) == 1).all()
    else:
        assert ((spread > 1).sum(-1) == 3).all()
    green_magenta = patches @ np.array([-1.0, 2.0, -1.0])
    assert (green_magenta.std((2, 3)).max() < 1e-2) == (color == "project")


def test_loss_against_loops(image_dir):
    """Each pair of patches through the model in its order, cross-entropy with its relation."""
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    batch = next(iter(task.dataset("val", Epoch(8, training=False))))
    losses, metrics = task.loss(model, batch, training=False)
    patches = task.patches(batch).numpy()
    order, relation = (part.numpy() for part in context_patches.draw_pairs(batch["seed"], 5))
    for image in range(8):
        logits = model(patches[image][order[image]], training=False).numpy().astype(np.float64)
        expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(5), relation[image]]
        np.testing.assert_allclose(losses[image], expected.mean(), rtol=1e-3)
        np.testing.assert_allclose(
            metrics["accuracy"][image], (logits.argmax(1) == relation[image]).mean()
        )


def test_what_a_network_sees_is_the_same_in_any_batch(image_dir):
    task = make_task(image_dir)
    batch = next(iter(task.dataset("train", Epoch(8))))
    half = {name: value[4:] for name, value in batch.items()}
    np.testing.assert_array_equal(task.patches(batch)[4:], task.patches(half))


def test_held_out_pairs_and_pictures(image_dir):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    first, second = task.evaluate(model), task.evaluate(model)
    assert first == second and set(first.metrics) == {"loss", "accuracy"}
    picture = task.pictures(model)["context"]
    assert picture.dtype == np.uint8 and picture.ndim == 3
    assert task.facts(model)["chance"] == 1 / 8

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.pretext.rotation import Rotation, all_rotations


def make_task(image_dir, image_size=32):
    return Rotation(data_dir=str(image_dir), image_size=image_size, eval_batch_size=8)


def small_alexnet():
    return AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rotations_are_numpys(dtype):
    images = np.random.default_rng(0).integers(0, 256, [3, 7, 7, 3]).astype(dtype)
    turned = all_rotations(tf.constant(images))
    assert turned.shape == (3, 4, 7, 7, 3) and turned.dtype == dtype
    for image, four in zip(images, turned.numpy(), strict=True):
        for turns in range(4):
            np.testing.assert_array_equal(four[turns], np.rot90(image, turns))


@pytest.mark.parametrize(
    "backbone, image_size",
    [
        (small_alexnet, 64),
        (lambda: VGG16(normalization="batch_norm", width_multiplier=0.1, fc_units=()), 64),
        (lambda: AlexNet(normalization="batch_norm", width_multiplier=0.1, fc_units=(16, 16)), 227),
        (
            lambda: VGG16(
                normalization="batch_norm", width_multiplier=0.1, fc_units=(16, 16), image_size=224
            ),
            224,
        ),
    ],
)
def test_a_step_on_each_backbone_and_size(image_dir, backbone, image_size):
    task = make_task(image_dir, image_size)
    model = task.build_model(backbone())
    batch = next(iter(task.dataset("train", Epoch(2))))
    with tf.GradientTape() as tape:
        losses, metrics = task.loss(model, batch, training=True)
        total = tf.reduce_sum(losses)
    gradients = tape.gradient(total, [variable.value for variable in model.trainable_variables])
    assert losses.shape == metrics["accuracy"].shape == (2,)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)


def test_loss_against_loops(image_dir):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    batch = next(iter(task.dataset("val", Epoch(8, training=False))))
    losses, metrics = task.loss(model, batch, training=False)
    for number, image in enumerate(batch["image"].numpy()):
        expected, right = [], []
        for turns in range(4):
            logits = (
                model(model.backbone.normalize(np.rot90(image, turns)[None]), training=False)[
                    "logits"
                ]
                .numpy()[0]
                .astype(np.float64)
            )
            expected.append(np.log(np.exp(logits).sum()) - logits[turns])
            right.append(logits.argmax() == turns)
        np.testing.assert_allclose(losses[number], np.mean(expected), rtol=1e-4)
        np.testing.assert_allclose(metrics["accuracy"][number], np.mean(right))


def test_dropout_of_an_image_does_not_depend_on_its_batch(image_dir):
    task = make_task(image_dir, 128)
    model = task.build_model(
        AlexNet(normalization="none", width_multiplier=0.05, fc_units=(64, 64), image_size=128)
    )
    batch = next(iter(task.dataset("train", Epoch(4))))
    whole = task.loss(model, batch, training=True)[0].numpy()
    halves = [
        task.loss(model, {name: value[part] for name, value in batch.items()}, training=True)[0]
        for part in (slice(2), slice(2, 4))
    ]
    np.testing.assert_allclose(whole, np.concatenate(halves), rtol=1e-4)
    # The four rotations have masks of their own.
    images = tf.repeat(model.backbone.normalize(batch["image"][:1]), 4, axis=0)
    with per_example_seeds(batch["seed"][:1]):
        masks = model(images, training=True)["logits"].numpy()
    assert len(np.unique(masks[:, 0])) == 4


def test_held_out_accuracy_facts_and_pictures(image_dir):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    first = task.evaluate(model)
    assert first == task.evaluate(model) and set(first.metrics) == {"loss", "accuracy"}
    right = 0
    for batch in task.dataset("val", Epoch(16, training=False)):
        for turns in range(4):
            turned = np.rot90(batch["image"].numpy(), turns, axes=(1, 2))
            right += (
                np.argmax(model(model.backbone.normalize(turned), training=False)["logits"], -1)
                == turns
            ).sum()
    np.testing.assert_allclose(first.metrics["accuracy"], right / 64)
    assert task.facts(model)["chance"] == 0.25
    picture = task.pictures(model)["rotation"]
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3

"""Context encoder against loops: holes, the masked loss, its baseline, the channel-wise layer."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.models import VGG16, AlexNet
from ccssl_tf.pretext.context_encoder import ChannelwiseDense, ContextEncoder
from ccssl_tf.runs.errors import FlagError


def make_task(image_dir, image_size=32, mask="random_blocks"):
    return ContextEncoder(
        data_dir=str(image_dir), image_size=image_size, mask=mask, eval_batch_size=8
    )


def small_alexnet():
    return AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())


def seeds(count):
    return tf.stack([tf.zeros([count], tf.int64), tf.range(count, dtype=tf.int64)], 1)


def test_the_central_hole(image_dir):
    holes = make_task(image_dir, 32, "center").holes(seeds(3)).numpy()
    expected = np.zeros([3, 32, 32, 1])
    expected[:, 8:24, 8:24] = 1
    np.testing.assert_array_equal(holes, expected)


def test_random_blocks_are_unions_of_four_squares_everywhere(image_dir):
    holes = make_task(image_dir, 32).holes(seeds(2000)).numpy()[..., 0]
    assert set(np.unique(holes)) == {0, 1}
    area = holes.mean((1, 2))
    assert area.max() == 0.25 and area.min() >= 1 / 16 and len(np.unique(area)) > 50
    assert (holes.mean(0) > 0).all()
    for one in holes[:50]:
        covered = np.zeros_like(one)
        for y, x in np.ndindex(25, 25):
            if one[y : y + 8, x : x + 8].all():
                covered[y : y + 8, x : x + 8] = 1
        np.testing.assert_array_equal(covered, one)
    np.testing.assert_array_equal(
        make_task(image_dir, 32).holes(seeds(2000)[7:9]).numpy()[..., 0], holes[7:9]
    )


def test_the_network_sees_nothing_of_the_holes(image_dir):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    batch = dict(next(iter(task.dataset("train", Epoch(4)))))
    holes = task.holes(batch["seed"])
    other = tf.where(
        holes > 0, 255 - tf.cast(batch["image"], tf.int32), tf.cast(batch["image"], tf.int32)
    )
    shown = [
        task.shown(model.backbone, images, holes)
        for images in (batch["image"], tf.cast(other, tf.uint8))
    ]
    np.testing.assert_array_equal(*shown)
    assert (np.asarray(shown[0])[np.broadcast_to(holes == 1, shown[0].shape)] == 0).all()


def test_loss_and_baseline_are_those_of_a_loop(image_dir):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    batch = next(iter(task.dataset("train", Epoch(4))))
    losses, metrics = task.loss(model, batch, training=False)
    holes = task.holes(batch["seed"]).numpy()[..., 0]
    pictures = model(task.shown(model.backbone, batch["image"], holes[..., None]), training=False)[
        "picture"
    ].numpy()
    assert pictures.shape == (4, 32, 32, 3)
    for image, hole, picture, loss, baseline in zip(
        batch["image"].numpy() / 127.5 - 1,
        holes,
        pictures,
        losses,
        metrics["mean_color_error"],
        strict=True,
    ):
        mean = np.mean([image[place] for place in np.ndindex(32, 32) if not hole[place]], 0)
        missing = [place for place in np.ndindex(32, 32) if hole[place]]
        assert loss.numpy() == pytest.approx(
            np.mean([(picture[place] - image[place]) ** 2 for place in missing]), rel=1e-3
        )
        assert baseline.numpy() == pytest.approx(
            np.mean([(mean - image[place]) ** 2 for place in missing]), rel=1e-3
        )


def test_channelwise_layer_is_one_matrix_a_channel():
    layer = ChannelwiseDense()
    x = np.random.default_rng(0).normal(size=[2, 2, 3, 4]).astype("float32")
    layer.build(x.shape)
    layer.bias.assign(np.random.default_rng(1).normal(size=[4, 6]))
    kernel, bias, found = layer.kernel.numpy(), layer.bias.numpy(), layer(x).numpy()
    for b in range(2):
        for channel in range(4):
            expected = x[b, :, :, channel].ravel() @ kernel[channel] + bias[channel]
            np.testing.assert_allclose(
                found[b, :, :, channel].ravel(), expected, rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize(
    "backbone, image_size, decoded",
    [
        (small_alexnet, 64, 64),
        (lambda: VGG16(normalization="batch_norm", width_multiplier=0.1, fc_units=()), 64, 64),
        (lambda: AlexNet(width_multiplier=0.1, fc_units=()), 227, 192),
        (lambda: VGG16(width_multiplier=0.1, fc_units=()), 224, 224),
    ],
)
def test_every_weight_learns_on_each_backbone_and_size(image_dir, backbone, image_size, decoded):
    task = make_task(image_dir, image_size)
    model = task.build_model(backbone())
    assert model.output["picture"].shape == (None, decoded, decoded, 3)
    batch = next(iter(task.dataset("train", Epoch(4))))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(task.loss(model, batch, training=True)[0])
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    assert all(gradient is not None and np.any(gradient != 0) for gradient in gradients)


def test_evaluation_facts_and_pictures(image_dir):
    task = make_task(image_dir, mask="center")
    model = task.build_model(small_alexnet())
    result = task.evaluate(model)
    assert set(result.metrics) == {"loss", "mean_color_error"}
    for facts in (task.facts(model, result), make_task(image_dir, mask="center").facts(model)):
        assert facts["chance"] == result.metrics["mean_color_error"]
    assert task.pictures(model)["inpainting"].dtype == np.uint8


def test_an_image_too_small_for_blocks_is_refused(image_dir):
    with pytest.raises(FlagError, match="^--image_size=12: too small"):
        make_task(image_dir, 12)

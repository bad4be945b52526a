"""Split-brain: nothing passes between the halves, and the backbone is like any other."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.models import VGG16, AlexNet, load_backbone, save_backbone
from ccssl_tf.ops import color
from ccssl_tf.pretext.colorization import mean_colors
from ccssl_tf.pretext.split_brain import SplitBrain, lightness_bins, mean_lightness
from ccssl_tf.runs.errors import InputError


def small_alexnet():
    return AlexNet(
        stem="small",
        normalization="batch_norm",
        width_multiplier=0.1,
        fc_units=(),
        colors="lab_halves",
    )


BACKBONES = {
    "small alexnet": (
        lambda: AlexNet(
            stem="small",
            normalization="batch_norm",
            width_multiplier=0.1,
            fc_units=(),
            colors="lab_halves",
        ),
        32,
    ),
    "small vgg16": (
        lambda: VGG16(
            normalization="batch_norm", width_multiplier=0.1, fc_units=(), colors="lab_halves"
        ),
        32,
    ),
    "alexnet": (
        lambda: AlexNet(
            normalization="none", width_multiplier=0.1, fc_units=(), colors="lab_halves"
        ),
        99,
    ),
}


def make_task(image_dir, image_size=32):
    return SplitBrain(
        data_dir=str(image_dir), image_size=image_size, pixel_head_units=8, eval_batch_size=8
    )


def batch_of(task, size=4):
    return next(iter(task.dataset("train", Epoch(size))))


@pytest.mark.parametrize("build, size", BACKBONES.values(), ids=BACKBONES)
def test_each_half_depends_on_its_channels_alone(build, size):
    backbone = build()
    seen = tf.random.stateless_normal([2, size, size, 3], [0, 1]) * 50
    other_color = tf.concat([seen[..., :1], seen[:, ::-1, :, 1:]], -1)
    other_lightness = tf.concat([seen[:, ::-1, :, :1], seen[..., 1:]], -1)
    original, colored, lit = backbone(seen), backbone(other_color), backbone(other_lightness)
    for name in backbone.endpoint_names:
        half = original[name].shape[-1] // 2
        np.testing.assert_array_equal(
            original[name][..., :half], colored[name][..., :half], err_msg=name
        )
        np.testing.assert_array_equal(
            original[name][..., half:], lit[name][..., half:], err_msg=name
        )
        assert np.any(original[name][..., half:] != colored[name][..., half:])
        assert np.any(original[name][..., :half] != lit[name][..., :half])


def test_what_it_sees():
    images = np.random.default_rng(0).integers(0, 256, [2, 5, 5, 3], np.uint8)
    seen = small_alexnet().normalize(images).numpy()
    lab = np.asarray(color.rgb_to_lab(images))
    np.testing.assert_allclose(seen, 2.55 * (lab - [50, 0, 0]), rtol=1e-4, atol=1e-3)


def test_halves_of_conv3_hold_half_the_weights_and_lrn_is_refused():
    whole, halves = (
        AlexNet(normalization="batch_norm", fc_units=(), colors=colors)
        for colors in ("rgb", "lab_halves")
    )
    kernels = {
        name: net.architecture()["kernels"]
        for name, net in dict(whole=whole, halves=halves).items()
    }
    assert kernels["whole"]["conv3"] == [3, 3, 256, 384, 1] and kernels["halves"]["conv3"] == [
        3,
        3,
        128,
        384,
        2,
    ]
    assert all(
        kernels["whole"][name] == kernels["halves"][name]
        for name in ("conv1", "conv2", "conv4", "conv5")
    )
    with pytest.raises(InputError, match="would mix the two halves"):
        AlexNet(fc_units=(), colors="lab_halves")


def test_lightness_loss_and_metrics(image_dir):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    batch = batch_of(task)
    losses, metrics = task.loss(model, batch, training=False)
    ab_losses, _ = super(SplitBrain, task).loss(model, batch, training=False)
    logits = (
        model(model.backbone.normalize(batch["image"]), training=False)["lightness"]
        .numpy()
        .astype(float)
    )
    lightness = mean_colors(batch["image"], model).numpy()[..., 0]
    for i in range(4):
        entropy, right, error = [], [], []
        for place in np.ndindex(lightness.shape[1:]):
            row, true = logits[i][place], lightness[i][place]
            share = np.exp(row) / np.exp(row).sum()
            entropy.append(-np.log(share[int(true)]))
            right.append(np.argmax(row) == int(true))
            error.append(abs((share * (np.arange(100) + 0.5)).sum() - true))
        assert (losses - ab_losses)[i].numpy() == pytest.approx(np.mean(entropy), rel=1e-3)
        assert metrics["lightness_accuracy"][i].numpy() == pytest.approx(np.mean(right))
        assert metrics["lightness_error"][i].numpy() == pytest.approx(np.mean(error), rel=1e-3)


def test_bins_of_lightness():
    assert lightness_bins(
        tf.constant([0.0, 0.99, 1, 55.5, 99.99, 100, 100.01])
    ).numpy().tolist() == [0, 0, 1, 55, 99, 99, 99]
    assert mean_lightness(tf.one_hot([7], 100) * 1000).numpy().tolist() == [7.5]


def test_the_heads_gradients_stay_in_their_halves(image_dir):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    images = batch_of(task)["image"]
    kernel = model.backbone.get_layer("conv3").kernel.value
    for answer, learning in (
        ("ab", slice(0, kernel.shape[-1] // 2)),
        ("lightness", slice(kernel.shape[-1] // 2, None)),
    ):
        with tf.GradientTape() as tape:
            logits = model(model.backbone.normalize(images), training=True)[answer]
            # Not a sum of logits: batch normalisation in the head makes that one constant.
            value = tf.reduce_sum(tf.square(logits))
        gradient = tape.gradient(value, kernel).numpy()
        assert gradient[..., learning].any()
        gradient[..., learning] = 0
        assert not gradient.any()


def test_facts_pictures_and_a_saved_backbone(image_dir, tmp_path):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    facts = task.facts(model)
    assert {
        "chance",
        "balanced_chance",
        "lightness_chance",
        "mean_lightness_error",
        "definition",
    } <= set(facts)
    assert task.pictures(model)["split_brain"].dtype == np.uint8
    save_backbone(model.backbone, tmp_path)
    loaded, images = load_backbone(tmp_path), batch_of(task)["image"]
    expected, found = (
        net(net.normalize(images), training=False) for net in (model.backbone, loaded)
    )
    for name in loaded.endpoint_names:
        np.testing.assert_array_equal(found[name], expected[name])

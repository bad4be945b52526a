"""Colorization: targets, loss and metrics against loops; what the network may see."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.models import VGG16, AlexNet, load_backbone, save_backbone
from ccssl_tf.ops import color
from ccssl_tf.pretext import ab_bins
from ccssl_tf.pretext.colorization import Colorization, ab_losses, mean_colors, painted


def make_task(image_dir, image_size=32):
    return Colorization(
        data_dir=str(image_dir), image_size=image_size, pixel_head_units=8, eval_batch_size=8
    )


def small_alexnet(colors="gray"):
    return AlexNet(
        stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=(), colors=colors
    )


def batch_of(task, size=8):
    return next(iter(task.dataset("train", Epoch(size))))


def test_loss_and_metrics_are_those_of_a_loop():
    random = np.random.default_rng(0)
    logits = random.normal(size=[3, 2, 2, 313]).astype("float32")
    ab = random.uniform(-60, 60, [3, 2, 2, 2]).astype("float32")
    ab[2] = 3
    weights = random.uniform(0.2, 3, 313).astype("float32")
    losses, metrics = ab_losses(tf.constant(logits), tf.constant(ab), tf.constant(weights))
    targets, centers = ab_bins.soft_encode(ab).numpy(), ab_bins.bin_centers()
    for i in range(3):
        loss, right, balanced, error, gray = [], [], [], [], []
        for place in np.ndindex(2, 2):
            row = logits[i][place].astype(float)
            log_softmax = row - np.log(np.exp(row).sum())
            nearest = np.argmin([np.hypot(*(ab[i][place] - center)) for center in centers])
            loss.append(-weights[nearest] * (targets[i][place] * log_softmax).sum())
            right.append(float(np.argmax(row) == nearest))
            balanced.append(right[-1] * weights[nearest])
            sharp = np.exp(row / 0.38)
            error.append(
                np.hypot(*((sharp[:, None] * centers).sum(0) / sharp.sum() - ab[i][place]))
            )
            gray.append(np.hypot(*ab[i][place]))
        # The third is as good as grey, and not learned from.
        assert losses[i].numpy() == pytest.approx(0 if i == 2 else np.mean(loss), rel=1e-4)
        for name, values in dict(
            accuracy=right, balanced_accuracy=balanced, color_error=error, gray_error=gray
        ).items():
            assert metrics[name][i].numpy() == pytest.approx(np.mean(values), rel=1e-3), name


def test_the_network_sees_lightness_alone(image_dir):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    images = batch_of(task)["image"].numpy()
    seen = model.backbone.normalize(images).numpy()
    lightness = np.asarray(color.rgb_to_lab(images))[..., 0]
    for channel in range(3):
        np.testing.assert_allclose(
            seen[..., channel], 2.55 * (lightness - 50), rtol=1e-5, atol=1e-3
        )


def test_cells_hold_mean_colours(image_dir):
    task = make_task(image_dir, 64)
    model = task.build_model(small_alexnet())
    images = batch_of(task)["image"].numpy()
    lab = np.asarray(color.rgb_to_lab(images)).reshape(8, 8, 8, 8, 8, 3).mean((2, 4))
    np.testing.assert_allclose(mean_colors(images, model), lab, rtol=1e-4, atol=1e-3)


def test_facts_are_the_best_constant_answers(image_dir):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    facts, shares = task.facts(model), task.shares(model)
    assert facts["chance"] == pytest.approx(shares.max()) and shares.sum() == pytest.approx(1)
    counts = np.zeros(313)
    for batch in task.dataset("train", Epoch(16)):
        nearest = ab_bins.nearest_bins(mean_colors(batch["image"], model)[..., 1:])
        for index in nearest.numpy().ravel():
            counts[index] += 1
    # Random crops instead of central ones, so only nearly the same.
    assert facts["chance"] == pytest.approx(counts.max() / counts.sum(), abs=0.1)
    assert 0 < facts["balanced_chance"] < 1


def test_models_with_maps_of_other_sizes_have_shares_of_their_own(image_dir):
    """One task, asked about two models in turn, answers as a task of each of them alone."""
    task = make_task(image_dir, 64)
    fine = task.build_model(small_alexnet())
    coarse = task.build_model(
        VGG16(normalization="batch_norm", width_multiplier=0.1, fc_units=(), colors="gray")
    )
    for model, cells in ((fine, 8), (coarse, 4), (fine, 8)):
        assert f"{cells}x{cells} cells" in task.facts(model)["definition"]
        np.testing.assert_array_equal(task.weights(model), make_task(image_dir, 64).weights(model))
    assert (task.shares(fine) != task.shares(coarse)).any()


def test_colours_are_measured_once_a_size(image_dir, monkeypatch):
    task, measure, calls = make_task(image_dir), ab_bins.empirical_distribution, []

    def counted(*arguments):
        calls.append(arguments)
        return measure(*arguments)

    monkeypatch.setattr(ab_bins, "empirical_distribution", counted)
    for _ in range(2):
        task.facts(task.build_model(small_alexnet()))
    assert len(calls) == 1


@pytest.mark.parametrize(
    "backbone, image_size, cells",
    [
        (small_alexnet, 64, 8),
        (
            lambda: VGG16(
                normalization="batch_norm", width_multiplier=0.1, fc_units=(), colors="gray"
            ),
            64,
            4,
        ),
        (
            lambda: AlexNet(
                normalization="batch_norm", width_multiplier=0.1, fc_units=(), colors="gray"
            ),
            227,
            13,
        ),
        (lambda: VGG16(width_multiplier=0.1, fc_units=(), colors="gray"), 224, 14),
    ],
)
def test_every_weight_learns_on_each_backbone_and_size(image_dir, backbone, image_size, cells):
    task = make_task(image_dir, image_size)
    model = task.build_model(backbone())
    assert model.output["ab"].shape == (None, cells, cells, 313)
    batch = batch_of(task, 4)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(task.loss(model, batch, training=True)[0])
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    assert all(np.any(gradient != 0) for gradient in gradients)


def test_pictures_and_a_saved_backbone(image_dir, tmp_path):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    picture = task.pictures(model)["colorization"]
    assert picture.dtype == np.uint8 and picture.ndim == 3
    save_backbone(model.backbone, tmp_path)
    loaded = load_backbone(tmp_path)
    images = batch_of(task)["image"]
    assert loaded.colors == "gray"
    np.testing.assert_array_equal(
        loaded(loaded.normalize(images))["conv5"],
        model.backbone(model.backbone.normalize(images))["conv5"],
    )


def test_painting_true_colours_gives_the_picture_back():
    images = np.random.default_rng(0).integers(0, 256, [2, 8, 8, 3], np.uint8)
    lab = color.rgb_to_lab(images)
    np.testing.assert_array_equal(painted(lab[..., :1], lab[..., 1:]), images)

"""Soft labels against the equation in SciPy, trainings on them, and images that are left out."""

import dataclasses

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from ccssl_tf.clustering.pseudo_labels import PseudoLabels, write_pseudo_labels
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.knowledge_transfer import label_confidence
from ccssl_tf.knowledge_transfer.cluster_classification import ClusterClassification
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.task import Epoch
from ccssl_tf.training import train
from ccssl_tf.training.optimizers import OptimizerSettings


def labels_of(fingerprint, count, seed, clusters=5, kept=3):
    """Pseudo-labels as of random distances to five centroids."""
    distances = np.random.default_rng(seed).uniform(1, 3, [count, clusters]).astype(np.float32)
    order = np.argsort(distances, axis=1).astype(np.int32)[:, :kept]
    lengths = np.take_along_axis(distances, order, 1)
    rows = np.arange(count), order[:, 0], lengths[:, 0], None
    return PseudoLabels(fingerprint, *rows, order, lengths)


@pytest.fixture(scope="module")
def labelled(image_dir, tmp_path_factory):
    directory, images = tmp_path_factory.mktemp("labels"), Manifest.read(image_dir, "images")
    splits = {
        split: labels_of(images.fingerprint(split), images.num_examples(split), seed)
        for seed, split in enumerate(("train", "val"))
    }
    write_pseudo_labels(directory, splits, num_clusters=5)
    return directory, splits["train"]


def make_task(image_dir, directory, **options):
    return ClusterClassification(
        data_dir=str(image_dir),
        pseudo_labels=str(directory),
        image_size=32,
        eval_batch_size=8,
        **options,
    )


def small_backbone():
    return AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())


def weights_after(task, workdir, **options):
    """Weights, metrics and the task of a training from one start."""
    tf.keras.utils.set_random_seed(0)
    options = dict(train_steps=6, batch_size=16, log_steps=1) | options
    adam = OptimizerSettings(optimizer="adam", learning_rate=1e-3)
    trained = train(task, small_backbone, optimizer=adam, workdir=workdir, **options)
    return trained.model.get_weights(), trained.metrics


@pytest.mark.parametrize("temperature", [0.05, 1.0, 30.0])
def test_soft_labels_are_those_of_the_equation(labelled, temperature):
    train_labels = labelled[1]
    squares = train_labels.nearest_distances.astype(np.float64) ** 2
    wanted = scipy.special.softmax(-squares / (temperature * squares[:, 0].mean()), axis=1)
    found = label_confidence.soft_labels(train_labels, temperature, "labels")
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    # They do not depend on the unit of the features.
    larger = dataclasses.replace(train_labels, nearest_distances=1000 * np.sqrt(squares))
    found = label_confidence.soft_labels(larger, temperature, "labels")
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1e-6, 1e-300])
def test_at_low_temperatures_they_are_hard(labelled, temperature):
    found = label_confidence.soft_labels(labelled[1], temperature, "labels")
    np.testing.assert_array_equal(found, np.eye(3, dtype=np.float32)[[0] * 48])


def test_the_loss_is_the_cross_entropy_with_the_soft_labels(image_dir, labelled):
    directory, train_labels = labelled
    task = make_task(image_dir, directory, label_temperature=0.5)
    dense = np.zeros([48, 5])
    likely = label_confidence.soft_labels(train_labels, 0.5, "labels")
    np.put_along_axis(dense, train_labels.nearest, likely, axis=1)
    model = task.build_model(small_backbone())
    for batch in task.dataset("train", Epoch(16, 3, 1)):
        losses, metrics = task.loss(model, batch, training=True)
        logits = model(model.backbone.normalize(batch["image"]), training=True)["logits"]
        index = batch["index"].numpy()
        log_answers = scipy.special.log_softmax(logits.numpy().astype(np.float64), axis=1)
        np.testing.assert_allclose(losses, -(dense[index] * log_answers).sum(1), rtol=1e-3)
        hard = train_labels.labels[index]
        np.testing.assert_array_equal(metrics["accuracy"], log_answers.argmax(1) == hard)
    facts = task.facts(model)
    assert facts["label_temperature"] == 0.5
    np.testing.assert_allclose(facts["mean_label_probability"], likely[:, 0].mean(), rtol=1e-6)
    # Evaluation is that of hard labels, of the training images, too.
    hard_task = make_task(image_dir, directory)
    for split in ("train", "val"):
        ours, theirs = (each.mean_over_split(model, split, 8) for each in (task, hard_task))
        assert ours == theirs


def test_a_training_at_low_temperature_is_that_on_hard_labels_bit_for_bit(
    image_dir, labelled, tmp_path
):
    hard, metrics = weights_after(make_task(image_dir, labelled[0]), tmp_path / "hard")
    task = make_task(image_dir, labelled[0], label_temperature=1e-9)
    soft, found = weights_after(task, tmp_path / "soft")
    for ours, theirs in zip(soft, hard, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert found["history"] == metrics["history"]


def test_shuffled_labels_take_their_probabilities_along(image_dir, labelled):
    directory, train_labels = labelled
    task = make_task(image_dir, directory, label_temperature=0.5, shuffle_labels=True)
    (batch,) = task.dataset("train", Epoch(48))
    np.testing.assert_array_equal(batch["nearest"][:, 0], batch["target"])
    assert (batch["target"].numpy() != train_labels.labels[batch["index"].numpy()]).any()
    likely = label_confidence.soft_labels(train_labels, 0.5, "labels")
    given = {(*numbers, *row) for numbers, row in zip(train_labels.nearest, likely, strict=True)}
    for numbers, row in zip(batch["nearest"].numpy(), batch["probabilities"].numpy(), strict=True):
        assert (*numbers, *row) in given


@pytest.mark.parametrize("balanced_sampling", [False, True])
def test_images_of_small_margin_are_left_out(image_dir, labelled, balanced_sampling, capsys):
    directory, train_labels = labelled
    margins = train_labels.nearest_distances[:, 1] - train_labels.nearest_distances[:, 0]
    least = float(np.sort(margins)[20])
    options = dict(min_margin=least, balanced_sampling=balanced_sampling)
    task = make_task(image_dir, directory, **options)
    assert "leaves out 41.67% of 48 training images" in capsys.readouterr().out
    facts = task.facts(model=None)
    np.testing.assert_allclose(facts["left_out"], 20 / 48)
    kept = np.flatnonzero(margins >= least)
    counts = np.bincount(train_labels.labels[kept], minlength=5)
    chance = 1 / np.count_nonzero(counts) if balanced_sampling else counts.max() / 28
    np.testing.assert_allclose(facts["chance"]["train"], chance)
    for number in range(3):
        batches = list(task.dataset("train", Epoch(7, 3, number)))
        seen = np.concatenate([batch["index"] for batch in batches])
        assert len(seen) == 28 and np.isin(seen, kept).all()
        if not balanced_sampling:
            np.testing.assert_array_equal(np.sort(seen), kept)
        rest = task.dataset("train", Epoch(7, 3, number, first_batch=2))
        for ours, theirs in zip(rest, batches[2:], strict=True):
            np.testing.assert_array_equal(ours["image"], theirs["image"])
    held_out = [batch["index"] for batch in task.dataset("val", Epoch(8, training=False))]
    np.testing.assert_array_equal(np.sort(np.concatenate(held_out)), np.arange(16))


def test_a_training_on_some_images_goes_on_to_the_same_weights(image_dir, labelled, tmp_path):
    """Stopped inside an epoch of three batches, and started again with more steps to make."""
    options = dict(min_margin=0.1, label_temperature=0.5)

    def task():
        return make_task(image_dir, labelled[0], **options)

    whole, metrics = weights_after(task(), tmp_path / "whole", batch_size=8)
    weights_after(task(), tmp_path / "parts", batch_size=8, train_steps=4)
    parts, found = weights_after(task(), tmp_path / "parts", batch_size=8)
    for ours, theirs in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert 0 < metrics["facts"]["left_out"] < 1
    assert found["facts"] == metrics["facts"]


def test_shuffled_labels_are_those_of_the_images_that_are_kept(image_dir, labelled):
    train_labels = labelled[1]
    task = make_task(image_dir, labelled[0], min_margin=0.3, shuffle_labels=True)
    kept = task.is_learned
    assert 0 < kept.sum() < 48
    found = task.labels["train"].numpy()
    np.testing.assert_array_equal(np.sort(found[kept]), np.sort(train_labels.labels[kept]))


def test_what_cannot_be(image_dir, labelled, tmp_path):
    directory, train_labels = labelled
    with pytest.raises(InputError, match=r"^--min_margin=9: no training image .* largest is 1\."):
        make_task(image_dir, directory, min_margin=9)
    for name in ("min_margin", "label_temperature"):
        with pytest.raises(FlagError, match=f"--{name}=-1"):
            make_task(image_dir, directory, **{name: -1.0})
        alone = dataclasses.replace(train_labels, nearest=None, nearest_distances=None)
        write_pseudo_labels(tmp_path, {"train": alone}, num_clusters=5)
        with pytest.raises(InputError, match=f"^--{name}: .*again with --num_nearest=5"):
            make_task(image_dir, tmp_path, **{name: 1.0})
    zeros = np.zeros_like(train_labels.nearest_distances)
    on_centroids = dataclasses.replace(train_labels, nearest_distances=zeros)
    with pytest.raises(InputError, match="^--label_temperature=1: every training image lies on"):
        label_confidence.soft_labels(on_centroids, 1.0, "labels")

"""Images of many sizes in one batch, evaluation against the files it writes, refusals."""

import itertools
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import write_masked_images
from PIL import Image

from ccssl_tf import training
from ccssl_tf.data import records
from ccssl_tf.data.manifest import Manifest, shard_name
from ccssl_tf.data.masks import VOID
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.downstream import fcn as lib
from ccssl_tf.metrics.segmentation import ConfusionMatrix
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.training import OptimizerSettings

PHOTOS = pathlib.Path(__file__).parents[2] / "../shared/data/voc2012seg"


def backbone(normalization="none"):
    return AlexNet(stem="small", normalization=normalization, width_multiplier=0.1, fc_units=())


def make_task(mask_dir, **changes):
    return lib.FCN(data_dir=str(mask_dir), **dict(fc_units=(16, 16)) | changes)


def model_of(task, normalization="none"):
    keras.utils.set_random_seed(3)
    model = task.build_model(backbone(normalization))
    for layer in model.backbone.convolutions():
        layer.kernel.assign(layer.kernel * 4)
    model.get_layer("score").kernel.assign(
        np.random.default_rng(0).normal(0, 0.1, model.get_layer("score").kernel.shape)
    )
    return model


def test_a_batch_is_continued_by_void_to_its_largest_image(mask_dir):
    batch = next(iter(make_task(mask_dir).dataset("train", Epoch(8))))
    heights, widths = batch["size"].numpy().T
    assert (
        batch["image"].shape == (8, heights.max(), widths.max(), 3)
        and batch["mask"].shape == batch["image"].shape[:3]
    )
    assert len(set(zip(heights, widths, strict=True))) > 3
    for mask, image, height, width in zip(
        batch["mask"].numpy(), batch["image"].numpy(), heights, widths, strict=True
    ):
        assert (
            (mask[height:] == VOID).all()
            and (mask[:, width:] == VOID).all()
            and not image[height:].any()
        )
        assert (
            set(np.unique(mask[:height, :width])) <= {0, 1, 2, 3, VOID}
            and (mask[:height, :width] != VOID).mean() > 0.8
        )


@pytest.mark.parametrize("training", [False, True])
def test_an_image_does_not_depend_on_the_others_in_its_batch(mask_dir, training):
    """Neither scores nor dropout: so the number of replicas and of accumulation steps changes
    nothing.
    """
    task = make_task(mask_dir)
    model = model_of(task)
    batch = next(iter(task.dataset("train", Epoch(4))))
    losses = task.loss(model, batch, training)[0].numpy()
    assert losses.std() > 1e-3
    for number, (height, width) in enumerate(batch["size"].numpy()):
        alone = {name: value[number : number + 1] for name, value in batch.items()}
        alone = dict(
            alone, image=alone["image"][:, :height, :width], mask=alone["mask"][:, :height, :width]
        )
        np.testing.assert_allclose(
            task.loss(model, alone, training)[0], losses[number : number + 1], rtol=1e-6
        )


def test_with_batch_normalisation_images_see_zeros_beyond_their_edges(mask_dir):
    task = make_task(mask_dir, dropout_rate=0.0)
    model = model_of(task, "batch_norm")
    batch = next(iter(task.dataset("train", Epoch(4))))
    other = dict(
        batch,
        image=tf.where(batch["mask"][..., None] == VOID, tf.constant(99, tf.uint8), batch["image"]),
    )
    smaller = batch["size"].numpy()[:, 0].argmin()
    beyond = np.zeros(batch["image"].shape, bool)
    beyond[smaller, batch["size"].numpy()[smaller, 0] :] = True
    assert beyond.any()
    other = dict(batch, image=tf.where(beyond, tf.constant(99, tf.uint8), batch["image"]))
    np.testing.assert_array_equal(
        task.loss(model, batch, True)[0], task.loss(model, other, True)[0]
    )


def test_mirroring_and_resizing_keep_photo_and_mask_together(mask_dir):
    plain, task = make_task(mask_dir), make_task(mask_dir, fcn_mirror=True, fcn_long_side=32)
    batch, again = (
        next(iter(task.dataset("train", Epoch(32, seed=5, number=1)))) for _ in range(2)
    )
    whole = next(iter(plain.dataset("train", Epoch(32, seed=5, number=1))))
    np.testing.assert_array_equal(batch["image"], again["image"])
    assert (batch["size"].numpy().max(1) == 32).all()
    mirrored = 0
    for number, (height, width) in enumerate(batch["size"].numpy()):
        image, mask = (
            batch["image"][number, :height, :width].numpy().astype(int),
            batch["mask"][number, :height, :width].numpy(),
        )
        for label in range(1, 4):
            colors = image[mask == label]
            assert not len(colors) or (
                colors.mean(0).argmax() == label - 1 and colors.mean(0).max() > 180
            )
        full = whole["mask"][number, : whole["size"][number, 0], : whole["size"][number, 1]].numpy()
        side = [
            np.nonzero((one > 0) & (one < VOID))[1].mean() / one.shape[1] for one in (mask, full)
        ]
        mirrored += abs(side[0] - (1 - side[1])) < abs(side[0] - side[1])
    assert 5 < mirrored < 27


def test_evaluation_is_that_of_the_files_it_writes(mask_dir, tmp_path):
    task = make_task(mask_dir, fcn_long_side=40, workdir=str(tmp_path))
    model = model_of(task)
    result = task.evaluate(model)
    metrics = result.metrics
    matrix, losses = ConfusionMatrix(4), []
    for batch in task.dataset("val", Epoch(1, training=False)):
        truth = batch["mask"][0].numpy()
        predicted = np.asarray(
            Image.open(tmp_path / "predictions" / f"val_{int(batch['index'][0]):03d}.png")
        )
        assert predicted.shape == truth.shape != tuple(batch["size"][0].numpy())
        matrix.update(truth, predicted)
        losses.append(float(task.loss(model, batch, training=False)[0][0]))
    assert {name: metrics[name] for name in matrix.results()} == matrix.results()
    assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5) and len(losses) == 5
    truth = matrix.counts.sum(1)
    chance = task.facts(model, result)["chance"]
    assert chance["pixel_accuracy"] == truth[0] / truth.sum() and chance[
        "mean_iou"
    ] == pytest.approx(truth[0] / truth.sum() / 4)
    assert set(task.facts(model, result)["iou"]) == {"background", "red", "green", "blue"}
    picture = task.pictures(model)["segmentation"]
    assert picture.dtype == np.uint8 and picture.shape[0] >= 5 * 160


def test_only_listed_images_are_evaluated(mask_dir, tmp_path):
    (tmp_path / "list.txt").write_text("val_004\nval_001\n")
    listed = str(tmp_path / "list.txt")
    task = make_task(mask_dir, eval_list=listed, workdir=str(tmp_path))
    model = model_of(task)
    some, everything = task.evaluate(model), make_task(mask_dir).evaluate(model)
    assert sorted(path.name for path in (tmp_path / "predictions").iterdir()) == [
        "val_001.png",
        "val_004.png",
    ]
    assert some.metrics != everything.metrics
    assert "the 2 images of list.txt" in task.facts(model)["definition"]
    assert task.inputs() == dict(init_segmenter=None, eval_list=listed)
    task.pictures(model)


def test_accumulation_changes_nothing(mask_dir, tmp_path):
    def run(accumulate_steps):
        keras.utils.set_random_seed(0)
        options = dict(train_steps=2, batch_size=4, accumulate_steps=accumulate_steps, log_steps=1)
        workdir = tmp_path / str(accumulate_steps)
        optimizer = OptimizerSettings(
            learning_rate=1e-2, weight_decay=0.0, bias_learning_rate_multiplier=1.0
        )
        return training.train(
            make_task(mask_dir), backbone, optimizer=optimizer, workdir=workdir, **options
        )

    (one, metrics, _), (four, *_) = run(1), run(4)
    for ours, theirs in zip(one.trainable_variables, four.trainable_variables, strict=True):
        np.testing.assert_allclose(
            ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-6, err_msg=ours.path
        )
    assert metrics["history"]["train"][0]["loss"] == pytest.approx(np.log(4), rel=1e-5)


def test_refusals(mask_dir, image_dir, tmp_path):
    with pytest.raises(InputError, match="have no masks"):
        make_task(image_dir)
    write_masked_images(tmp_path, dict(train=3))
    with pytest.raises(InputError, match="no split val, but train"):
        make_task(tmp_path)
    with pytest.raises(InputError, match="scores of stride 8 only"):
        make_task(mask_dir, fcn_stride=16).build_model(backbone())


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(fcn_stride=4), "--fcn_stride=4: must be 32, 16 or 8"),
        (dict(fcn_long_side=-1), "--fcn_long_side=-1: must be 0 or more"),
        (dict(fc_units=(16,)), "--fc_units=16: expected two whole numbers"),
        (dict(eval_batch_size=2), "--eval_batch_size=2: must be 1 or less"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, message):
    with pytest.raises(FlagError, match=f"^{message}"):
        lib.FCNSettings(data_dir="images", **fields)


def _learned_by_heart(directory, workdir, train_steps):
    """Trains FCN-32s on the split train and returns what the evaluation of the same photos says."""
    task = make_task(directory, fc_units=(256, 256), dropout_rate=0.0)
    task.eval_split = "train"
    keras.utils.set_random_seed(0)

    def build():
        return AlexNet(width_multiplier=0.25, fc_units=(), normalization="batch_norm")

    optimizer = OptimizerSettings(
        optimizer="adam",
        learning_rate=1e-3,
        learning_rate_schedule="cosine",
        weight_decay=0.0,
    )
    options = dict(workdir=workdir, train_steps=train_steps, batch_size=8, log_steps=20)
    return training.train(task, build, optimizer=optimizer, **options).metrics["evaluation"]


@pytest.mark.slow
def test_eight_drawings_are_learned_by_heart(tmp_path):
    """Stride 32 smooths corners away: more than this it cannot have."""
    write_masked_images(tmp_path / "data", dict(train=8, val=8), side=160)
    evaluation = _learned_by_heart(tmp_path / "data", tmp_path / "run", 150)
    assert evaluation["mean_iou"] > 0.6 and evaluation["pixel_accuracy"] > 0.93


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="no ../shared/data/voc2012seg")
def test_eight_photos_are_learned_by_heart(tmp_path):
    """The first eight of VOC 2012's train, at their full size; about three minutes on two cores."""
    options = [
        f"--source={PHOTOS}",
        "--year=2012",
        "--task=segmentation",
        "--splits=train",
        f"--output_dir={tmp_path / 'voc'}",
    ]
    subprocess.run([sys.executable, "-m", "data_prep.voc", *options], check=True, timeout=300)
    whole = Manifest.read(tmp_path / "voc", "images")
    eight = list(
        itertools.islice(records.read_shard(tmp_path / "voc" / whole.shards("train")[0].name), 8)
    )
    (tmp_path / "eight").mkdir()
    shards = {
        split: [records.write_shard(tmp_path / "eight" / shard_name(split, 0, 1), eight)]
        for split in ("train", "val")
    }
    Manifest("images", shards, whole.info).write(tmp_path / "eight")
    evaluation = _learned_by_heart(tmp_path / "eight", tmp_path / "run", 100)
    assert evaluation["mean_iou"] > 0.6 and evaluation["pixel_accuracy"] > 0.93

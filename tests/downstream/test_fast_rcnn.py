"""The task: its loss against loops, padding, replicas, and that it learns photos by heart."""

import itertools
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

from ccssl_tf import registry, training
from ccssl_tf.data import proposal_records, records, voc_records
from ccssl_tf.data.manifest import Manifest, shard_name
from ccssl_tf.downstream.fast_rcnn import FastRCNN
from ccssl_tf.models import AlexNet
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.training import optimizers

PHOTOS = pathlib.Path(__file__).parents[2] / "../shared/data/voc2007"


def make_task(objects_dir, **options):
    settings = dict(
        train_split="trainval",
        eval_split="test",
        scales=[48],
        max_side=100,
        test_scale=48,
        test_max_side=100,
    )
    settings |= dict(fc_units=(160, 160), dropout_rate=0.0, regions_per_image=8)
    return FastRCNN(
        data_dir=objects_dir / "images",
        proposals_dir=objects_dir / "proposals",
        **settings | options,
    )


def alexnet(width=0.05):
    return AlexNet(stem="small", normalization="none", width_multiplier=width, fc_units=())


def test_the_loss_is_fast_rcnns(objects_dir):
    task = make_task(objects_dir)
    model = task.build_model(alexnet())
    batch = next(iter(task.dataset("trainval", 3, True, (0, 0))))
    losses, metrics = task.loss(model, batch, training=True)
    deviations = task._statistics[1]
    for row in range(3):
        height, width = batch["size"][row].numpy()
        seen = np.array(model.backbone.normalize(batch["image"][row : row + 1]))
        seen[:, height:], seen[:, :, width:] = 0, 0
        rois = np.pad(batch["rois"][row].numpy(), [[0, 0], [1, 0]])
        outputs = model([seen, rois])
        logits, codes = (
            outputs["logits"].numpy().astype(float),
            outputs["codes"].numpy().reshape(8, 3, 4),
        )
        expected = 0.0
        for region, label in enumerate(batch["roi_labels"][row].numpy()):
            if label < 0:
                continue
            expected += np.log(np.exp(logits[region]).sum()) - logits[region][label]
            if label > 0:
                difference = (
                    codes[region][label - 1] - batch["codes"][row, region].numpy()
                ) / deviations[label - 1]
                expected += sum(0.5 * d * d if abs(d) < 1 else abs(d) - 0.5 for d in difference)
        assert float(losses[row]) == pytest.approx(expected / 8, rel=1e-4)
    np.testing.assert_allclose(metrics["class_loss"] + metrics["box_loss"], losses, rtol=1e-6)


def test_flags(objects_dir):
    settings = dict(
        data_dir=str(objects_dir / "images"), proposals_dir=str(objects_dir / "proposals")
    )
    with flagsaver.flagsaver(**settings, detection_scales=["480", "576"]):
        task = FastRCNN.from_flags()
        assert task.scales == [480, 576] and (task.train_split, task.eval_split) == (
            "trainval",
            "test",
        )
        assert "11-point" in task.facts()["definition"] and task.inputs() == dict(
            proposals_dir=settings["proposals_dir"]
        )
    with (
        flagsaver.flagsaver(data_dir=settings["data_dir"]),
        pytest.raises(FlagError, match="needs --proposals_dir"),
    ):
        FastRCNN.from_flags()
    with (
        flagsaver.flagsaver(**settings, detection_scales=["x"]),
        pytest.raises(FlagError, match="--detection_scales=x: expected whole"),
    ):
        FastRCNN.from_flags()
    assert registry.TASKS["fast_rcnn"] is FastRCNN


def test_two_replicas_give_the_losses_of_one(objects_dir):
    task = make_task(objects_dir, dropout_rate=0.5)
    model = task.build_model(alexnet())
    batch = next(iter(task.dataset("trainval", 4, True, (0, 0))))
    whole, _ = task.loss(model, batch, training=True)
    parts = [
        task.loss(model, {name: value[rows] for name, value in batch.items()}, training=True)[0]
        for rows in (slice(2), slice(2, 4))
    ]
    np.testing.assert_allclose(tf.concat(parts, 0), whole, rtol=1e-5)


def _learned_by_heart(task, tmp_path, train_steps):
    """Trains on the split trainval and returns what the evaluation says."""
    keras.utils.set_random_seed(0)

    def build():
        return AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.25, fc_units=())

    def optimizer():
        return optimizers.make_optimizer("adam", 2e-3, schedule="cosine", train_steps=train_steps)

    options = dict(workdir=tmp_path / "run", train_steps=train_steps, batch_size=8, log_steps=50)
    return training.train(task, build, optimizer, **options)[1]["evaluation"][
        "mean_average_precision"
    ]


@pytest.mark.slow
def test_coloured_rectangles_are_learned_by_heart(objects_dir, tmp_path):
    """Evaluated on the photos it was trained on."""
    task = make_task(
        objects_dir, eval_split="trainval", regions_per_image=16, output_dir=tmp_path / "detections"
    )
    assert _learned_by_heart(task, tmp_path, 200) > 0.9
    assert len(list((tmp_path / "detections").glob("comp3_det_trainval_*.txt"))) == 3


def _write_eight_photos(directory, tmp_path):
    """The first eight photos of VOC 2007's trainval, as `test`, and eight times over, which saves
    making epochs, as `trainval`.

    Proposals are their objects, every side moved by up to 30%, and boxes anywhere.
    """
    options = [
        f"--source={PHOTOS}",
        "--year=2007",
        "--splits=trainval",
        f"--output_dir={tmp_path / 'voc'}",
    ]
    subprocess.run([sys.executable, "-m", "data_prep.voc", *options], check=True, timeout=300)
    whole = Manifest.read(tmp_path / "voc", "images")
    eight = list(
        itertools.islice(records.read_shard(tmp_path / "voc" / whole.shards("trainval")[0].name), 8)
    )
    images, proposals = {"trainval": [], "test": []}, {"trainval": [], "test": []}
    for split, copies in (("trainval", 8), ("test", 1)):
        for index in range(8 * copies):
            parsed, random = (
                voc_records.parse_voc_image(eight[index % 8]),
                np.random.default_rng(index % 8),
            )
            height, width = int(parsed["height"]), int(parsed["width"])
            boxes = voc_records.pixel_boxes(parsed["boxes"], height, width).numpy()[
                random.integers(0, len(parsed["boxes"]), 100)
            ]
            near = boxes + random.uniform(-0.3, 0.3, [100, 4]) * np.tile(
                boxes[:, 2:] - boxes[:, :2], 2
            )
            far = np.sort(random.random([200, 2, 2]), 1).reshape(200, 4) * [
                width,
                height,
                width,
                height,
            ]
            found = np.clip(
                np.round(np.concatenate([near, far])), 1, [width, height, width, height]
            ).astype(int)
            found = found[(found[:, 2:] > found[:, :2] + 5).all(1)]
            example = tf.train.Example.FromString(eight[index % 8])
            example.features.feature["image/index"].int64_list.value[0] = index
            images[split].append(example.SerializeToString())
            proposals[split].append(
                proposal_records.proposal_example(index, parsed["filename"].numpy(), found)
            )
    made = {}
    for kind, examples in (("images", images), ("proposals", proposals)):
        (directory / kind).mkdir(parents=True)
        shards = {
            split: [records.write_shard(directory / kind / shard_name(split, 0, 1), own)]
            for split, own in examples.items()
        }
        made_from = {split: made["images"].fingerprint(split) for split in images} if made else {}
        made[kind] = Manifest(
            kind,
            shards,
            dict(method="generated", images_fingerprint=made_from) if made else whole.info,
        )
        made[kind].write(directory / kind)


@pytest.mark.slow
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="no ../shared/data/voc2007")
def test_eight_photos_are_learned_by_heart(tmp_path):
    """About two minutes on two cores. More than 0.935 cannot be had: of two horses one covers the
    other by 0.64 and is suppressed.
    """
    _write_eight_photos(tmp_path / "eight", tmp_path)
    task = make_task(
        tmp_path / "eight",
        scales=[128],
        max_side=256,
        test_scale=128,
        test_max_side=256,
        regions_per_image=64,
    )
    assert _learned_by_heart(task, tmp_path, 200) > 0.9

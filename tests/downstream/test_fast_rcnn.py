"""The task: its loss against loops, padding, replicas, and that it learns photos by heart."""

import itertools
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf import training
from ccssl_tf.data import proposal_records, records, voc_records
from ccssl_tf.data.manifest import Manifest, shard_name
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.downstream.fast_rcnn import FastRCNN, FastRCNNSettings
from ccssl_tf.models import VGG16, AlexNet
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.values import read
from ccssl_tf.training import OptimizerSettings

DIRECTORIES = dict(data="images", proposals="proposals")
PHOTOS = pathlib.Path(__file__).parents[2] / "../shared/data/voc2007"


def make_task(objects_dir, **options):
    settings = dict(
        detection_scales=(48,),
        detection_max_side=100,
        detection_test_scale=48,
        detection_test_max_side=100,
        fc_units=(160, 160),
        dropout_rate=0.0,
        regions_per_image=8,
    )
    return FastRCNN(
        data_dir=str(objects_dir / "images"),
        proposals_dir=str(objects_dir / "proposals"),
        **settings | options,
    )


def alexnet(width=0.05):
    return AlexNet(stem="small", normalization="none", width_multiplier=width, fc_units=())


def test_the_loss_is_fast_rcnns(objects_dir):
    task = make_task(objects_dir)
    model = task.build_model(alexnet())
    batch = next(iter(task.dataset("trainval", Epoch(3))))
    losses, metrics = task.loss(model, batch, training=True)
    deviations = task._code_deviations
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
    words = [f"--{name}_dir={objects_dir}/{path}" for name, path in DIRECTORIES.items()]
    settings = read([FastRCNNSettings], [*words, "--detection_scales=480,576"])[FastRCNNSettings]
    task = FastRCNN(settings)
    assert task.settings.detection_scales == (480, 576)
    assert (task.train_split, task.eval_split) == ("trainval", "test")
    assert task.inputs() == dict(proposals_dir=f"{objects_dir}/proposals")
    with pytest.raises(FlagError, match="^--proposals_dir: not given; .* data_prep.proposals"):
        read([FastRCNNSettings], words[:1])


@pytest.mark.parametrize(
    "word, message",
    [
        ("--detection_scales=x", "--detection_scales=x: expected whole numbers"),
        ("--detection_scales=480,0", "--detection_scales=480,0: must be 1 or more"),
        ("--locked_stages=-1", "--locked_stages=-1: must be 0 or more"),
        ("--eval_batch_size=2", "--eval_batch_size=2: must be 1 or less"),
    ],
)
def test_settings_that_cannot_be_are_refused(word, message):
    name, text = word.removeprefix("--").split("=")
    with pytest.raises(FlagError, match=f"^{message}"):
        if "," in text or text == "x":
            read([FastRCNNSettings], ["--data_dir=d", "--proposals_dir=p", word])
        else:
            FastRCNNSettings(data_dir="d", proposals_dir="p", **{name: int(text)})


def test_locked_stages_are_resolved(objects_dir):
    for backbone, stages in ((alexnet(), 1), (VGG16(width_multiplier=0.05, fc_units=()), 2)):
        assert make_task(objects_dir).resolved(backbone)[0].locked_stages == stages
    assert make_task(objects_dir, locked_stages=0).resolved(alexnet())[0].locked_stages == 0


def test_several_scales_are_tested_together_too(objects_dir, tmp_path):
    task = make_task(objects_dir, detection_scales=(40, 48), workdir=str(tmp_path))
    model = task.build_model(alexnet())
    result = task.evaluate(model)
    names = ["", "_area", "_multi_scale", "_area_multi_scale"]
    assert set(result.metrics) == {f"mean_average_precision{name}" for name in names}
    for name in names:
        of_classes = result.facts[f"average_precision{name}"]
        mean = result.metrics[f"mean_average_precision{name}"]
        assert mean == pytest.approx(np.mean(list(of_classes.values())))
    for directory in ("detections", "detections_multi_scale"):
        assert len(list((tmp_path / directory).glob("comp3_det_test_*.txt"))) == 3
    facts = task.facts(model, result)
    assert "11-point" in facts["definition"] and "shorter sides 40,48" in facts["definition"]
    assert facts.items() > result.facts.items()
    # The same photos are drawn from the evaluation's detections and from ones made for them alone.
    pictures = task.pictures(model, result), task.pictures(model)
    np.testing.assert_array_equal(*(picture["detections"] for picture in pictures))


def test_two_replicas_give_the_losses_of_one(objects_dir):
    task = make_task(objects_dir, dropout_rate=0.5)
    model = task.build_model(alexnet())
    batch = next(iter(task.dataset("trainval", Epoch(4))))
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

    optimizer = OptimizerSettings(
        optimizer="adam",
        learning_rate=2e-3,
        learning_rate_schedule="cosine",
        weight_decay=0.0,
    )
    options = dict(workdir=tmp_path / "run", train_steps=train_steps, batch_size=8, log_steps=50)
    trained = training.train(task, build, optimizer=optimizer, **options)
    return trained.metrics["evaluation"]["mean_average_precision"]


@pytest.mark.slow
def test_coloured_rectangles_are_learned_by_heart(objects_dir, tmp_path):
    """Evaluated on the photos it was trained on."""
    task = make_task(
        objects_dir, eval_split="trainval", regions_per_image=16, workdir=str(tmp_path)
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
        detection_scales=(128,),
        detection_max_side=256,
        detection_test_scale=128,
        detection_test_max_side=256,
        regions_per_image=64,
    )
    assert _learned_by_heart(task, tmp_path, 200) > 0.9

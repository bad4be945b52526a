"""The task: its loss against loops, padding, two scales, replicas, and that it learns."""

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

from ccssl_tf import optimizers, registry, training
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.downstream.fast_rcnn import FastRCNN
from ccssl_tf.errors import FlagError
from ccssl_tf.models import AlexNet


def make_task(objects_dir, **options):
    settings = dict(train_split="trainval", eval_split="test", scales=[48], max_side=100, test_scale=48, test_max_side=100)
    settings |= dict(fc_units=(160, 160), dropout_rate=0.0, regions_per_image=8)
    return FastRCNN(data_dir=objects_dir / "images", proposals_dir=objects_dir / "proposals", **settings | options)


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
        logits, codes = outputs["logits"].numpy().astype(float), outputs["codes"].numpy().reshape(8, 3, 4)
        expected = 0.0
        for region, label in enumerate(batch["roi_labels"][row].numpy()):
            if label < 0:
                continue
            expected += np.log(np.exp(logits[region]).sum()) - logits[region][label]
            if label > 0:
                difference = (codes[region][label - 1] - batch["codes"][row, region].numpy()) / deviations[label - 1]
                expected += sum(0.5 * d * d if abs(d) < 1 else abs(d) - 0.5 for d in difference)
        assert float(losses[row]) == pytest.approx(expected / 8, rel=1e-4)
    np.testing.assert_allclose(metrics["class_loss"] + metrics["box_loss"], losses, rtol=1e-6)


def test_flags(objects_dir):
    settings = dict(data_dir=str(objects_dir / "images"), proposals_dir=str(objects_dir / "proposals"))
    with flagsaver.flagsaver(**settings, detection_scales=["480", "576"]):
        task = FastRCNN.from_flags()
        assert task.scales == [480, 576] and (task.train_split, task.eval_split) == ("trainval", "test")
        assert "11-point" in task.facts()["definition"] and task.inputs() == dict(proposals_dir=settings["proposals_dir"])
    with flagsaver.flagsaver(data_dir=settings["data_dir"]), pytest.raises(FlagError, match="needs --proposals_dir"):
        FastRCNN.from_flags()
    with flagsaver.flagsaver(**settings, detection_scales=["x"]), pytest.raises(FlagError, match="--detection_scales=x: expected whole"):
        FastRCNN.from_flags()
    assert registry.TASKS["fast_rcnn"] is FastRCNN


def test_two_replicas_give_the_losses_of_one(objects_dir):
    task = make_task(objects_dir, dropout_rate=0.5)
    model = task.build_model(alexnet())
    batch = next(iter(task.dataset("trainval", 4, True, (0, 0))))
    whole, _ = task.loss(model, batch, training=True)
    parts = [task.loss(model, {name: value[rows] for name, value in batch.items()}, training=True)[0] for rows in (slice(2), slice(2, 4))]
    np.testing.assert_allclose(tf.concat(parts, 0), whole, rtol=1e-5)


@pytest.mark.slow
def test_it_learns_where_the_objects_are(objects_dir, tmp_path):
    """Coloured rectangles, evaluated on the photos it was trained on."""
    task = make_task(objects_dir, eval_split="trainval", regions_per_image=16, output_dir=tmp_path / "detections")
    options = dict(train_steps=400, batch_size=4, log_steps=100)
    _, metrics, _ = training.train(
        task, lambda: alexnet(0.25), lambda: optimizers.make_optimizer("adam", 5e-4), workdir=tmp_path / "run", **options
    )
    assert metrics["evaluation"]["mean_average_precision"] > 0.9
    assert len(list((tmp_path / "detections").glob("comp3_det_trainval_*.txt"))) == 3
    assert Manifest.read(objects_dir / "images", "images").info["class_names"] == ["red", "green", "blue"]

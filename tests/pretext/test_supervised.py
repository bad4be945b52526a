import numpy as np
import pytest

from ccssl_tf.data.manifest import Manifest
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.pretext.supervised import Supervised
from ccssl_tf.runs.errors import InputError


def test_the_labels_are_the_task(image_dir):
    task = Supervised(data_dir=str(image_dir), image_size=32, eval_batch_size=5)
    assert task.num_classes == 3 and task.eval_split == "val"
    for batch in task.dataset("train", Epoch(16)):
        np.testing.assert_array_equal(batch["target"], batch["index"].numpy() % 3)
    assert task.facts(model=None)["chance"] == 1 / 3
    assert task.class_name(1) == "square"


def test_held_out_accuracy_is_of_labels(image_dir):
    task = Supervised(data_dir=str(image_dir), image_size=32, eval_batch_size=5)
    model = task.build_model(
        AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    )
    right = []
    for batch in task.dataset("val", Epoch(16, training=False)):
        answers = np.argmax(
            model(model.backbone.normalize(batch["image"]), training=False)["logits"], -1
        )
        right += (answers == batch["label"].numpy()).tolist()
    np.testing.assert_allclose(task.evaluate(model).metrics["accuracy"], np.mean(right))


def test_images_without_labels_are_refused(image_dir, tmp_path):
    ours = Manifest.read(image_dir, "images")
    for shard in ours.shards("train"):
        (tmp_path / shard.name).symlink_to(image_dir / shard.name)
    Manifest("images", {"train": ours.shards("train")}, dict(ours.info, class_names=[])).write(
        tmp_path
    )
    with pytest.raises(InputError, match="no class labels, which this task needs") as caught:
        Supervised(data_dir=str(tmp_path), image_size=32)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_without_a_held_out_split_nothing_is_evaluated(image_dir, tmp_path):
    ours = Manifest.read(image_dir, "images")
    for shard in ours.shards("train"):
        (tmp_path / shard.name).symlink_to(image_dir / shard.name)
    Manifest("images", {"train": ours.shards("train")}, ours.info).write(tmp_path)
    task = Supervised(data_dir=str(tmp_path), image_size=32)
    model = task.build_model(
        AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    )
    assert task.evaluate(model).metrics == {}
    assert "classification" in task.pictures(model)

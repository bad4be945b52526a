import numpy as np
import pytest

from ccssl_tf.clustering.pseudo_labels import PseudoLabels, write_pseudo_labels
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.errors import InputError
from ccssl_tf.knowledge_transfer.cluster_classification import ClusterClassification
from ccssl_tf.models.alexnet import AlexNet


@pytest.fixture(scope="module")
def labelled(image_dir, tmp_path_factory):
    directory = tmp_path_factory.mktemp("pseudo_labels")
    labels = {"train": np.arange(48) * 7 % 5, "val": np.arange(16) % 5}
    write_pseudo_labels(
        directory,
        {
            split: PseudoLabels(
                images_fingerprint=Manifest.read(image_dir, "images").fingerprint(split),
                index=np.arange(len(clusters)),
                labels=clusters.astype(np.int32),
                distances=np.zeros(len(clusters), np.float32),
            )
            for split, clusters in labels.items()
        },
        num_clusters=5,
    )
    return directory, labels


def make_task(image_dir, directory):
    return ClusterClassification(data_dir=image_dir, pseudo_labels_dir=directory, image_size=32, eval_batch_size=8)


def test_labels_are_gathered_by_image_index(image_dir, labelled):
    directory, labels = labelled
    task = make_task(image_dir, directory)
    model = task.build_model(AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=()))
    seen = []
    for batch in task.dataset("train", 16, True, (3, 1)):
        losses, metrics = task.loss(model, batch, training=True)
        logits = model(model.backbone.normalize(batch["image"]), training=True)["logits"].numpy().astype(np.float64)
        expected = labels["train"][batch["index"].numpy()]
        probabilities = np.exp(logits - logits.max(1, keepdims=True))
        probabilities /= probabilities.sum(1, keepdims=True)
        np.testing.assert_allclose(losses, -np.log(probabilities[np.arange(16), expected]), rtol=1e-3)
        np.testing.assert_array_equal(metrics["accuracy"], logits.argmax(1) == expected)
        seen += batch["index"].numpy().tolist()
    assert sorted(seen) == list(range(48))


def test_held_out_accuracy_counts_every_image_once(image_dir, labelled):
    directory, labels = labelled
    task = make_task(image_dir, directory)
    model = task.build_model(AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=()))
    right = count = 0
    for batch in task.dataset("val", 5, False, (0, 0)):
        answers = np.argmax(model(model.backbone.normalize(batch["image"]), training=False)["logits"], -1)
        right += ((answers == labels["val"][batch["index"].numpy()]) * batch["weight"].numpy()).sum()
        count += batch["weight"].numpy().sum()
    assert count == 16
    np.testing.assert_allclose(task.evaluate(model)["accuracy"], right / 16)
    assert task.facts()["num_clusters"] == 5
    np.testing.assert_allclose(task.facts()["chance"]["val"], 4 / 16)


def test_pseudo_labels_of_other_images_are_refused(image_dir, labelled, tmp_path):
    """The same records in another order are other images."""
    ours = Manifest.read(image_dir, "images")
    other = Manifest("images", {"train": ours.shards("train")[::-1], "val": ours.shards("val")}, ours.info)
    for shard in ours.shards("train") + ours.shards("val"):
        (tmp_path / shard.name).symlink_to(image_dir / shard.name)
    other.write(tmp_path)
    with pytest.raises(InputError) as caught:
        make_task(tmp_path, labelled[0])
    for manifest in (ours, other):
        assert manifest.fingerprint("train") in str(caught.value)

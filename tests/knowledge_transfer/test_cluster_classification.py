import numpy as np
import pytest

from ccssl_tf.clustering.pseudo_labels import PseudoLabels, write_pseudo_labels
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.knowledge_transfer.cluster_classification import ClusterClassification
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.task import Epoch
from ccssl_tf.training import train
from ccssl_tf.training.optimizers import OptimizerSettings


@pytest.fixture(scope="module")
def labelled(image_dir, tmp_path_factory):
    labels = {"train": np.arange(48) * 7 % 5, "val": np.arange(16) % 5}
    directory = write_labels(tmp_path_factory.mktemp("pseudo_labels"), image_dir, labels, 5)
    return directory, labels


def make_task(image_dir, directory, **options):
    return ClusterClassification(
        data_dir=str(image_dir),
        pseudo_labels=str(directory),
        image_size=32,
        eval_batch_size=8,
        **options,
    )


def write_labels(directory, image_dir, labels, num_clusters):
    """Writes pseudo-labels, by index, of the splits of `image_dir`."""
    directory.mkdir(exist_ok=True)
    splits = {}
    for split, clusters in labels.items():
        fingerprint = Manifest.read(image_dir, "images").fingerprint(split)
        count = len(clusters)
        splits[split] = PseudoLabels(
            fingerprint,
            np.arange(count),
            np.asarray(clusters, np.int32),
            np.zeros(count, np.float32),
        )
    write_pseudo_labels(directory, splits, num_clusters=num_clusters)
    return directory


def test_labels_are_gathered_by_image_index(image_dir, labelled):
    directory, labels = labelled
    task = make_task(image_dir, directory)
    model = task.build_model(
        AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    )
    seen = []
    for batch in task.dataset("train", Epoch(16, 3, 1)):
        losses, metrics = task.loss(model, batch, training=True)
        logits = (
            model(model.backbone.normalize(batch["image"]), training=True)["logits"]
            .numpy()
            .astype(np.float64)
        )
        expected = labels["train"][batch["index"].numpy()]
        probabilities = np.exp(logits - logits.max(1, keepdims=True))
        probabilities /= probabilities.sum(1, keepdims=True)
        np.testing.assert_allclose(
            losses, -np.log(probabilities[np.arange(16), expected]), rtol=1e-3
        )
        np.testing.assert_array_equal(metrics["accuracy"], logits.argmax(1) == expected)
        seen += batch["index"].numpy().tolist()
    assert sorted(seen) == list(range(48))


def test_held_out_accuracy_counts_every_image_once(image_dir, labelled):
    directory, labels = labelled
    task = make_task(image_dir, directory)
    model = task.build_model(
        AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    )
    right = count = 0
    for batch in task.dataset("val", Epoch(5, training=False)):
        answers = np.argmax(
            model(model.backbone.normalize(batch["image"]), training=False)["logits"], -1
        )
        right += (
            (answers == labels["val"][batch["index"].numpy()]) * batch["weight"].numpy()
        ).sum()
        count += batch["weight"].numpy().sum()
    assert count == 16
    np.testing.assert_allclose(task.evaluate(model).metrics["accuracy"], right / 16)
    assert task.facts(model)["num_clusters"] == 5
    np.testing.assert_allclose(task.facts(model)["chance"]["val"], 4 / 16)


def test_pseudo_labels_of_other_images_are_refused(image_dir, labelled, tmp_path):
    """The same records in another order are other images."""
    ours = Manifest.read(image_dir, "images")
    other = Manifest(
        "images", {"train": ours.shards("train")[::-1], "val": ours.shards("val")}, ours.info
    )
    for shard in ours.shards("train") + ours.shards("val"):
        (tmp_path / shard.name).symlink_to(image_dir / shard.name)
    other.write(tmp_path)
    with pytest.raises(InputError) as caught:
        make_task(tmp_path, labelled[0])
    for manifest in (ours, other):
        assert manifest.fingerprint("train") in str(caught.value)


def test_balanced_sampling_shows_every_cluster_equally_often(image_dir, tmp_path):
    sizes = [30, 12, 5, 0, 1]
    clusters = np.repeat(np.arange(5), sizes)
    directory = write_labels(
        tmp_path / "labels", image_dir, {"train": clusters, "val": np.zeros(16)}, 5
    )
    task = make_task(image_dir, directory, balanced_sampling=True)
    for epoch in range(3):
        found = list(task.dataset("train", Epoch(16, 3, epoch)))
        targets = np.concatenate([batch["target"] for batch in found])
        np.testing.assert_array_equal(np.bincount(targets, minlength=5), [12, 12, 12, 0, 12])
        indices = np.concatenate([batch["index"] for batch in found])
        np.testing.assert_array_equal(targets, clusters[indices])
        assert len(np.unique(np.concatenate([batch["seed"] for batch in found]), axis=0)) == 48
        # The image that comes twelve times comes in twelve crops.
        only = np.concatenate([batch["image"] for batch in found])[targets == 4]
        assert len({image.tobytes() for image in only}) > 6
    tail = list(task.dataset("train", Epoch(16, 3, epoch, first_batch=2)))
    np.testing.assert_array_equal(tail[0]["image"], found[2]["image"])
    held_out = [
        index
        for batch in task.dataset("val", Epoch(4, training=False))
        for index in batch["index"].numpy()
    ]
    assert sorted(held_out) == list(range(16)), "evaluation is not balanced"
    facts = task.facts(model=None)
    assert (
        facts["balanced_sampling"]
        and facts["empty_clusters"] == 1
        and facts["chance"] == dict(train=0.25, val=1.0)
    )


def test_shuffled_labels_are_dealt_out_by_the_seed_and_those_of_val_stay(image_dir, labelled):
    directory, labels = labelled
    true, first, again, other = (
        make_task(image_dir, directory, **options)
        for options in ({}, *(dict(shuffle_labels=True, seed=seed) for seed in (0, 0, 1)))
    )
    np.testing.assert_array_equal(true.labels["train"], labels["train"])
    for task in (first, other):
        np.testing.assert_array_equal(task.labels["val"], labels["val"])
        np.testing.assert_array_equal(np.sort(task.labels["train"]), np.sort(labels["train"]))
        assert np.mean(task.labels["train"].numpy() == labels["train"]) < 0.5
        assert (
            task.facts(model=None)["shuffled_labels"]
            and "control" in task.facts(model=None)["definition"]
        )
        assert task.facts(model=None)["chance"] == true.facts(model=None)["chance"]
    np.testing.assert_array_equal(first.labels["train"], again.labels["train"])
    assert (first.labels["train"].numpy() != other.labels["train"].numpy()).any()
    assert not true.facts(model=None)["shuffled_labels"]
    batch = next(iter(first.dataset("train", Epoch(16))))
    np.testing.assert_array_equal(
        batch["target"], first.labels["train"].numpy()[batch["index"].numpy()]
    )


def test_training_and_held_out_accuracy_are_both_in_the_metrics(image_dir, labelled, tmp_path):
    task = make_task(image_dir, labelled[0], balanced_sampling=True)

    def build():
        return AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())

    optimizer = OptimizerSettings(optimizer="sgd", learning_rate=1e-3)
    trained = train(
        task,
        build,
        optimizer=optimizer,
        workdir=tmp_path,
        train_steps=4,
        batch_size=16,
        log_steps=2,
    )
    metrics = trained.metrics
    assert 0 <= metrics["training"]["accuracy"] <= 1 and 0 <= metrics["evaluation"]["accuracy"] <= 1
    assert (
        metrics["facts"]["balanced_sampling"] is True
        and metrics["facts"]["shuffled_labels"] is False
    )
    assert metrics["facts"]["num_clusters"] == 5


def test_labels_that_cannot_be_learned_from_are_refused(image_dir, tmp_path):
    for name, clusters, message in (
        ("fewer", np.arange(40) % 5, "split train has 40 pseudo-labels for the 48 images"),
        ("one", np.full(48, 3), "all training images are in one cluster"),
    ):
        directory = write_labels(tmp_path / name, image_dir, {"train": clusters}, 5)
        with pytest.raises(InputError, match=message):
            make_task(image_dir, directory)


def test_labels_of_more_clusters_than_there_are_are_refused(image_dir, labelled):
    """Reading refuses them too, wherever they come from
    (tests/clustering/test_pseudo_labels.py).
    """
    with pytest.raises(InputError, match="image 4 has label 4, outside of 4 clusters"):
        write_labels(labelled[0], image_dir, {"val": np.arange(16) % 5}, 4)


def small_model(task):
    return task.build_model(
        AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    )


def test_any_method_of_a_new_task_may_be_the_first(image_dir, labelled):
    model = small_model(make_task(image_dir, labelled[0]))
    calls_of = dict(
        facts=lambda task: task.facts(model)["num_clusters"] == 5,
        pictures=lambda task: task.pictures(model)["classification"].dtype == np.uint8,
        evaluate=lambda task: task.evaluate(model).metrics["loss"] > 0,
        dataset=lambda task: next(iter(task.dataset("train", Epoch(16))))["target"].shape == 16,
        resolved=lambda task: task.resolved(model.backbone) == (task.settings,),
        inputs=lambda task: task.inputs() == dict(pseudo_labels=str(labelled[0])),
    )
    for first in calls_of:
        task = make_task(image_dir, labelled[0])
        assert calls_of[first](task), first
    assert all(call(task) for call in calls_of.values())


def test_it_needs_pseudo_labels(image_dir):
    for fields in ({}, dict(pseudo_labels="")):
        with pytest.raises(
            FlagError, match="^--task=cluster_classification needs --pseudo_labels=DIR"
        ):
            ClusterClassification(data_dir=str(image_dir), image_size=32, **fields)

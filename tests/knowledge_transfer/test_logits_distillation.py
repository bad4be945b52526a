import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.clustering.pseudo_labels import PseudoLabels, write_pseudo_labels
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.knowledge_transfer import teacher as teacher_lib
from ccssl_tf.knowledge_transfer.cluster_classification import ClusterClassification
from ccssl_tf.knowledge_transfer.logits_distillation import LogitsDistillation, softened_divergence
from ccssl_tf.pretext.supervised import Supervised
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.task import Epoch


def make_task(image_dir, teacher, **options):
    return LogitsDistillation(
        data_dir=str(image_dir),
        image_size=32,
        teacher_backbone=str(teacher),
        eval_batch_size=6,
        **options,
    )


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def divergence(taught, logits, temperature):
    """T^2 KL, class by class."""
    result = np.zeros(len(logits))
    for row, (one, other) in enumerate(
        zip(softmax(taught / temperature), softmax(logits / temperature), strict=True)
    ):
        for p, q in zip(one, other, strict=True):
            result[row] += temperature**2 * p * (np.log(p) - np.log(q))
    return result


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_softened_divergence(temperature):
    random = np.random.default_rng(0)
    taught, logits = random.normal(0, 5, [2, 7, 11])
    found = softened_divergence(
        tf.constant(logits, tf.float32), tf.constant(taught, tf.float32), temperature
    )
    np.testing.assert_allclose(found, divergence(taught, logits, temperature), rtol=1e-4)
    np.testing.assert_allclose(
        softened_divergence(*[tf.constant(taught, tf.float32)] * 2, temperature), 0, atol=1e-5
    )


@pytest.mark.parametrize("hard_labels", [True, False])
def test_the_loss_is_of_softened_answers_and_labels(
    image_dir, alexnet_teacher, small_alexnet, hard_labels
):
    task = make_task(image_dir, alexnet_teacher, hard_labels=hard_labels)
    model = task.build_model(small_alexnet())
    batch = next(iter(task.dataset("train", Epoch(16))))
    losses, metrics = task.loss(model, batch, training=False)
    classifier = teacher_lib.load_classifier(alexnet_teacher, 32)
    logits, taught = (
        net(net.backbone.normalize(batch["image"]), training=False)["logits"]
        .numpy()
        .astype(np.float64)
        for net in (model, classifier)
    )
    soft = divergence(taught, logits, 4)
    np.testing.assert_allclose(metrics["soft_loss"], soft, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(metrics["agreement"], logits.argmax(1) == taught.argmax(1))
    if not hard_labels:
        np.testing.assert_allclose(losses, soft, rtol=1e-3, atol=1e-6)
        assert "accuracy" not in metrics and task.facts(model)["distillation_weight"] == 1
        return
    target = batch["label"].numpy()
    hard = -np.log(softmax(logits)[np.arange(16), target])
    np.testing.assert_allclose(losses, 0.9 * soft + 0.1 * hard, rtol=1e-3)
    np.testing.assert_array_equal(metrics["accuracy"], logits.argmax(1) == target)


def test_the_teacher_is_no_part_of_the_model_and_not_trained(
    image_dir, alexnet_teacher, small_alexnet
):
    task, student = make_task(image_dir, alexnet_teacher), small_alexnet()
    model = task.build_model(student)
    own = {
        id(variable)
        for layer in (student, model.get_layer("logits"))
        for variable in layer.variables
    }
    assert {id(variable) for variable in model.variables} == own
    with tf.GradientTape() as tape:
        losses, _ = task.loss(model, next(iter(task.dataset("train", Epoch(16)))), training=True)
    assert set(
        tape.gradient(losses, [variable.value for variable in task.teacher(model).variables])
    ) == {None}
    assert task.inputs() == dict(teacher_backbone=str(alexnet_teacher))
    assert (
        task.facts(model)["teacher"]["network"] == "AlexNet"
        and task.facts(model)["chance"] == 1 / 3
    )


@pytest.mark.parametrize("hard_labels", [True, False])
def test_held_out_agreement_counts_every_image_once_and_pictures_show_it(
    image_dir, alexnet_teacher, small_alexnet, hard_labels
):
    task = make_task(image_dir, alexnet_teacher, hard_labels=hard_labels)
    model = task.build_model(small_alexnet())
    classifier = teacher_lib.load_classifier(alexnet_teacher, 32)
    agreed = count = 0
    for batch in task.dataset("val", Epoch(5, training=False)):
        ours, theirs = (
            np.argmax(net(net.backbone.normalize(batch["image"]), training=False)["logits"], -1)
            for net in (model, classifier)
        )
        agreed, count = (
            agreed + ((ours == theirs) * batch["weight"].numpy()).sum(),
            count + batch["weight"].numpy().sum(),
        )
    record = task.evaluate(model).metrics
    assert count == 16 and ("accuracy" in record) == hard_labels
    np.testing.assert_allclose(record["agreement"], agreed / 16)
    assert task.pictures(model)["classification"].dtype == np.uint8


@pytest.fixture(scope="module")
def pseudo_labels(image_dir, tmp_path_factory):
    """Of 3 and of 5 clusters."""
    directories = {}
    for clusters in (3, 5):
        directories[clusters] = tmp_path_factory.mktemp(f"pseudo_labels{clusters}")
        splits = {}
        for split, size in dict(train=48, val=16).items():
            fingerprint = Manifest.read(image_dir, "images").fingerprint(split)
            labels = (np.arange(size) * 7 % clusters).astype(np.int32)
            splits[split] = PseudoLabels(
                fingerprint, np.arange(size), labels, np.zeros(size, np.float32)
            )
        write_pseudo_labels(directories[clusters], splits, num_clusters=clusters)
    return {clusters: str(directory) for clusters, directory in directories.items()}


def test_labels_are_the_pseudo_labels_the_images_own_or_none(
    image_dir, alexnet_teacher, pseudo_labels
):
    own = make_task(image_dir, alexnet_teacher)
    assert isinstance(own.labels, Supervised) and own.weight == 0.9
    pseudo = make_task(image_dir, alexnet_teacher, pseudo_labels=pseudo_labels[3])
    assert isinstance(pseudo.labels, ClusterClassification)
    assert pseudo.inputs() == dict(
        pseudo_labels=pseudo_labels[3], teacher_backbone=str(alexnet_teacher)
    )
    batch = next(iter(pseudo.dataset("train", Epoch(16))))
    np.testing.assert_array_equal(batch["target"], batch["index"].numpy() * 7 % 3)
    assert make_task(image_dir, alexnet_teacher, hard_labels=False).labels is None


def test_labels_of_other_classes_than_the_teacher_knows_are_refused(
    image_dir, alexnet_teacher, pseudo_labels
):
    with pytest.raises(
        InputError, match="answers 3 classes, and the labels have 5; .*--nohard_labels"
    ):
        make_task(image_dir, alexnet_teacher, pseudo_labels=pseudo_labels[5])
    assert (
        make_task(
            image_dir, alexnet_teacher, pseudo_labels=pseudo_labels[5], hard_labels=False
        ).num_classes
        == 3
    )


def test_any_method_of_a_new_task_may_be_the_first(
    image_dir, alexnet_teacher, pseudo_labels, small_alexnet
):
    options = dict(pseudo_labels=pseudo_labels[3], balanced_sampling=True)
    model = make_task(image_dir, alexnet_teacher, **options).build_model(small_alexnet())

    def losses(task):
        return task.loss(model, next(iter(task.dataset("train", Epoch(16)))), training=False)[0]

    calls_of = dict(
        facts=lambda task: task.facts(model)["teacher"]["network"] == "AlexNet",
        pictures=lambda task: task.pictures(model)["classification"].dtype == np.uint8,
        loss=lambda task: losses(task).shape == 16,
        evaluate=lambda task: task.evaluate(model).metrics["loss"] > 0,
        resolved=lambda task: task.resolved(model.backbone) == (task.settings,),
        inputs=lambda task: set(task.inputs()) == {"pseudo_labels", "teacher_backbone"},
    )
    for first in calls_of:
        task = make_task(image_dir, alexnet_teacher, **options)
        assert calls_of[first](task), first
    assert all(call(task) for call in calls_of.values())


def test_pictures_ask_for_the_teachers_answers(image_dir, alexnet_teacher, small_alexnet):
    task = make_task(image_dir, alexnet_teacher)
    model = task.build_model(small_alexnet())
    batch = task.pictured_batch(8, model)
    taught = teacher_lib.ask(task.teacher(model), batch["image"])["logits"]
    np.testing.assert_array_equal(batch["target"], np.argmax(taught, -1))
    np.testing.assert_array_equal(task.pictured_batch(8)["target"], batch["label"])


@pytest.mark.parametrize(
    "name, value",
    [
        ("balanced_sampling", True),
        ("shuffle_labels", True),
        ("label_temperature", 1.0),
        ("min_margin", 1.0),
    ],
)
@pytest.mark.parametrize("other", [{}, dict(pseudo_labels="labels", hard_labels=False)])
def test_what_is_said_of_pseudo_labels_needs_them(image_dir, alexnet_teacher, name, value, other):
    with pytest.raises(FlagError, match=f"^--{name}: says nothing where no pseudo-labels"):
        make_task(image_dir, alexnet_teacher, **{name: value}, **other)


def test_soft_and_sure_labels_beside_the_teacher(
    image_dir, alexnet_teacher, small_alexnet, tmp_path
):
    """The hard part of the loss becomes that of the pseudo-labels' own task."""
    nearest = (np.arange(3, dtype=np.int32) + np.arange(48)[:, None]) % 3
    lengths = np.float32([1, 1.5, 2]) + np.linspace(0, 1, 48)[:, None] * np.float32([0, 1, 2])
    fingerprint = Manifest.read(image_dir, "images").fingerprint("train")
    rows = np.arange(48), nearest[:, 0], lengths[:, 0], None, nearest, lengths
    write_pseudo_labels(tmp_path, dict(train=PseudoLabels(fingerprint, *rows)), num_clusters=3)
    options = dict(pseudo_labels=str(tmp_path), label_temperature=0.7, min_margin=0.9)
    task = make_task(image_dir, alexnet_teacher, distillation_weight=0.4, **options)
    model = task.build_model(small_alexnet())
    batches = list(task.dataset("train", Epoch(8)))
    seen = np.concatenate([batch["index"] for batch in batches])
    assert (lengths[seen, 1] - lengths[seen, 0] >= 0.9).all() and len(batches) == 3
    losses, metrics = task.loss(model, batches[0], training=True)
    alone, _ = task.labels.loss(model, batches[0], training=True)
    np.testing.assert_allclose(losses, 0.4 * metrics["soft_loss"] + 0.6 * alone, rtol=1e-4)


@pytest.mark.parametrize(
    "name, value",
    [
        ("distillation_temperature", 0.0),
        ("distillation_weight", 1.5),
        ("distillation_weight", -0.1),
    ],
)
def test_settings_that_can_never_be_right_are_refused(image_dir, alexnet_teacher, name, value):
    with pytest.raises(FlagError, match=f"^--{name}={value}: must be"):
        make_task(image_dir, alexnet_teacher, **{name: value})

"""Every task on every backbone keeps the Task contract and takes two small steps."""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import flag_words

from ccssl_tf import registry
from ccssl_tf.clustering.pseudo_labels import PseudoLabels, write_pseudo_labels
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.models import backbone_file, save_backbone
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone_file import backbone_fingerprint
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.models.start import Start
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.settings import fields_of
from ccssl_tf.task import Epoch, Extractor, Task
from ccssl_tf.training import OptimizerSettings, train

train_command = importlib.import_module("ccssl_tf.train")
extract_command = importlib.import_module("ccssl_tf.extract")

# The loop's own rules left out: what a task gives is looked at.
SGD = OptimizerSettings(learning_rate=1e-3, weight_decay=0.0, bias_learning_rate_multiplier=1.0)
ADAM = OptimizerSettings(
    optimizer="adam", learning_rate=1e-3, weight_decay=0.0, bias_learning_rate_multiplier=1.0
)


@pytest.fixture(scope="module")
def flags_of(image_dir, voc_dir, mask_dir, objects_dir, tmp_path_factory):
    """Name of a task -> flags (name -> value) that make it small."""
    directory = tmp_path_factory.mktemp("pseudo_labels")
    splits = {}
    for split, size in dict(train=48, val=16).items():
        fingerprint = Manifest.read(image_dir, "images").fingerprint(split)
        labels = np.arange(size, dtype=np.int32) % 4
        rows = np.arange(size), labels, np.zeros(size, np.float32)
        splits[split] = PseudoLabels(fingerprint, *rows)
    write_pseudo_labels(directory, splits, num_clusters=4)
    # A teacher that knows the pseudo-labels, wider than the students.
    wide = AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    teacher = build_classifier(wide, 4, 32)
    teacher_dir = tmp_path_factory.mktemp("teacher")
    backbone_file.save_backbone(teacher.backbone, teacher_dir)
    backbone_file.save_model(teacher, f"{teacher_dir}/classifier.keras")
    puzzle = dict(num_permutations=6, permutations_per_image=2, tile_fc6_units=8)
    puzzle |= dict(puzzle_fc7_units=8)
    own = dict(
        jigsaw=puzzle,
        jigsaw_pp=puzzle,
        context=dict(patch_fc6_units=8, pair_fc_units=8),
        rotation={},
        counting=dict(counting_fc_units=8, counting_units=8),
        supervised={},
        colorization=dict(pixel_head_units=8),
        split_brain=dict(pixel_head_units=8),
        context_encoder={},
        cluster_classification=dict(pseudo_labels=directory),
        feature_regression=dict(teacher_backbone=teacher_dir),
        attention_transfer=dict(teacher_backbone=teacher_dir, **puzzle),
        logits_distillation=dict(teacher_backbone=teacher_dir, pseudo_labels=directory),
        linear_probe=dict(probe_grids="2"),
        nonlinear_probe=dict(frozen_until="conv3"),
        voc07_classification=dict(data_dir=voc_dir, random_crops=2),
        fcn=dict(data_dir=mask_dir, fc_units="8,8"),
        fast_rcnn=dict(
            data_dir=objects_dir / "images",
            proposals_dir=objects_dir / "proposals",
            detection_scales="48,64",
            detection_test_scale=48,
            regions_per_image=8,
            fc_units="160,160",
        ),
    )
    shared = dict(data_dir=image_dir, image_size=32)
    return {name: shared | flags for name, flags in own.items()}


def parse(name, flags, workdir="w", **more):
    return train_command.COMMAND.parse(flag_words(task=name, workdir=workdir, **flags | more))


def start_of(values, task):
    size = task.settings.image_size
    return Start.from_values(registry.BACKBONES, values, image_size=size)


def run(name, flags, workdir, steps, optimizer=SGD, **more):
    """Trains a task from its flags; returns the task and what was trained."""
    values = parse(name, flags, workdir, **more)
    keras.utils.set_random_seed(0)
    task = train_command.build_task(values)
    start = start_of(values, task)

    def build():
        return start.build(with_fc=task.with_fc, colors=task.colors, keep_fc=task.keep_fc)

    options = dict(workdir=workdir, train_steps=steps, batch_size=16, log_steps=1)
    return task, train(task, build, optimizer=optimizer, **options)


def mostly_slow(often):
    """Returns the names of all tasks; those besides `often`, of each kind one, are slow: all of
    them take minutes.
    """
    slow = pytest.mark.slow
    return [pytest.param(name, marks=() if name in often else slow) for name in registry.TASKS]


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        *(("alexnet", name) for name in registry.TASKS),
        *(
            pytest.param(backbone, *param.values, marks=param.marks)
            for backbone in registry.BACKBONES
            if backbone != "alexnet"
            for param in mostly_slow(
                ("jigsaw_pp", "cluster_classification", "linear_probe", "fast_rcnn", "fcn")
            )
        ),
    ],
)
def test_two_steps_and_the_contract(name, backbone, flags_of, tmp_path):
    task, trained = run(name, flags_of[name], tmp_path, 2, backbone=backbone, width_multiplier=0.05)
    assert isinstance(task, Task)
    metrics = trained.metrics
    assert metrics["step"] == 2 and len(metrics["history"]["train"]) == 2
    assert all(np.isfinite(value) for value in metrics["evaluation"].values())
    assert "chance" in metrics["facts"] and "definition" in metrics["facts"]

    def batch_of(number):
        epoch = Epoch(16, number=number)
        return next(iter(task.dataset(task.train_split, epoch, trained.model)))

    first, again, later = map(batch_of, (0, 0, 1))
    assert first["seed"].shape == (16, 2) if "seed" in first else not task.trains_backbone
    for key in first:
        np.testing.assert_array_equal(first[key], again[key], err_msg=key)
    assert (first["index"].numpy() != later["index"].numpy()).any()
    losses, per_example = task.loss(trained.model, first, training=False)
    assert losses.shape == (16,) and losses.dtype == tf.float32
    assert all(value.shape == (16,) for value in per_example.values())


@pytest.mark.parametrize("name", registry.TASKS)
def test_what_a_run_records_gives_the_same_settings_again(name, flags_of):
    values = parse(name, flags_of[name], width_multiplier=0.05)
    task = train_command.build_task(values)
    start = start_of(values, task)
    backbone = start.build(with_fc=task.with_fc, colors=task.colors, keep_fc=task.keep_fc)
    task.build_model(backbone)
    values = start.resolved(values, backbone).resolved(*task.resolved(backbone))
    lines = [line for of_one in values.lines().values() for line in of_one]
    again = train_command.COMMAND.parse(lines)
    assert list(again) == list(values)
    rebuilt = train_command.build_task(again)
    other = start_of(again, rebuilt).build(
        with_fc=task.with_fc, colors=task.colors, keep_fc=task.keep_fc
    )
    assert other.get_config() == backbone.get_config()
    assert rebuilt.resolved(other) == task.resolved(backbone)
    assert values.difference(lines, is_resolved=True) is None


@pytest.mark.parametrize("name", registry.TASKS)
def test_flags_of_every_other_task_are_refused(name, flags_of):
    values = parse(name, flags_of[name])
    known = {field.name for group in values for field in fields_of(type(group))}
    foreign = {
        field.name
        for kind in registry.TASKS.values()
        for field in fields_of(kind.Settings)
        if field.name not in known
    }
    assert foreign
    for flag in sorted(foreign):
        with pytest.raises(FlagError, match=f"--{flag} is a flag of --task="):
            train_command.COMMAND.parse(flag_words(task=name, **flags_of[name], **{flag: "1"}))


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize(
    "name",
    mostly_slow(
        (
            "jigsaw_pp",
            "cluster_classification",
            "attention_transfer",
            "linear_probe",
            "context_encoder",
        )
    ),
)
def test_a_resumed_run_has_the_variables_and_metrics_of_a_straight_one(
    name, cache, flags_of, tmp_path
):
    if cache and name != "linear_probe":
        pytest.skip("only the linear probe caches features")
    more = dict(width_multiplier=0.05) | (dict(cache_features=True) if cache else {})

    def trained(directory, steps):
        return run(name, flags_of[name], directory, steps, ADAM, **more)[1]

    straight = trained(tmp_path / "straight", 5)
    trained(tmp_path / "resumed", 3)
    resumed = trained(tmp_path / "resumed", 5)
    for ours, theirs in zip(straight.model.variables, resumed.model.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
    assert straight.metrics["evaluation"] == resumed.metrics["evaluation"]


@pytest.mark.parametrize(
    "name",
    [
        *("cluster_classification", "linear_probe"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("rotation", "nonlinear_probe", "colorization")
        ),
    ],
)
def test_networks_of_keras_applications_are_trained_like_ours(name, flags_of, tmp_path):
    flags = flags_of[name] | (dict(frozen_until="conv1") if name == "nonlinear_probe" else {})

    def trained(directory, steps):
        return run(name, flags, directory, steps, backbone="MobileNetV2")[1]

    straight = trained(tmp_path / "straight", 2)
    assert all(np.isfinite(value) for value in straight.metrics["evaluation"].values())
    if name == "cluster_classification":
        trained(tmp_path / "resumed", 1)
        resumed = trained(tmp_path / "resumed", 2)
        for ours, theirs in zip(straight.model.variables, resumed.model.variables, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
        assert straight.metrics["evaluation"] == resumed.metrics["evaluation"]


@pytest.fixture
def foreign(tmp_path):
    """Somebody else's Keras model: two stages and classes."""
    images = keras.Input([32, 32, 3])
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="first")(images)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(images, keras.layers.Dense(3)(x)).save(tmp_path / "net.keras")
    return str(tmp_path / "net.keras")


# Those that build on the last map are among them.
_ON_OTHERS = ("rotation", "nonlinear_probe", "voc07_classification", "fcn", "fast_rcnn", "jigsaw")


@pytest.mark.parametrize(
    "name",
    [
        *("cluster_classification", "linear_probe"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in _ON_OTHERS),
    ],
)
def test_keras_models_of_others_are_trained_like_ours(name, foreign, flags_of, tmp_path):
    own = dict(frozen_until="conv1") if name == "nonlinear_probe" else {}
    given = dict(init_backbone=foreign, input_range="0,1")

    def trained(directory, steps):
        return run(name, flags_of[name] | own, directory, steps, **given)[1]

    straight = trained(tmp_path / "straight", 2)
    assert all(np.isfinite(value) for value in straight.metrics["evaluation"].values())
    if name == "cluster_classification":
        trained(tmp_path / "resumed", 1)
        resumed = trained(tmp_path / "resumed", 2)
        for ours, theirs in zip(straight.model.variables, resumed.model.variables, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
        assert straight.metrics["evaluation"] == resumed.metrics["evaluation"]
        backbone = straight.model.backbone
        save_backbone(backbone, tmp_path / "straight")
        kept = dict(init_backbone=tmp_path / "straight", backbone="keras")
        values = parse(name, flags_of[name], **kept)
        loaded = start_of(values, train_command.build_task(values)).build()
        assert backbone_fingerprint(loaded) == backbone_fingerprint(backbone)


@pytest.mark.parametrize("name", registry.EXTRACTORS)
def test_extractors_keep_their_contract(name):
    kind = registry.EXTRACTORS[name]
    assert issubclass(kind, Extractor)
    values = extract_command.COMMAND.parse(
        flag_words(extractor=name, data_dir="d", workdir="w")
        + (["--features_file=x.npy"] if name == "external" else [])
    )
    known = {field.name for group in values for field in fields_of(type(group))}
    for other in registry.EXTRACTORS.values():
        for field in fields_of(other.Settings):
            if field.name not in known:
                with pytest.raises(FlagError, match=f"--{field.name} is a flag of"):
                    extract_command.COMMAND.parse(
                        flag_words(extractor=name, data_dir="d", **{field.name: "1"})
                    )

"""Every task on every backbone keeps the Task contract and takes two small steps."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from ccssl_tf import registry, training
from ccssl_tf.clustering.pseudo_labels import PseudoLabels, write_pseudo_labels
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.models import Application, backbone_file, save_backbone
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone_file import backbone_fingerprint
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.runs.errors import InputError
from ccssl_tf.task import Task
from ccssl_tf.training import optimizers


@pytest.fixture(scope="module")
def small_flags(image_dir, tmp_path_factory):
    directory = tmp_path_factory.mktemp("pseudo_labels")
    splits = {}
    for split, size in dict(train=48, val=16).items():
        fingerprint = Manifest.read(image_dir, "images").fingerprint(split)
        labels = np.arange(size, dtype=np.int32) % 4
        splits[split] = PseudoLabels(
            fingerprint, np.arange(size), labels, np.zeros(size, np.float32)
        )
    write_pseudo_labels(directory, splits, num_clusters=4)
    settings = dict(
        data_dir=str(image_dir), image_size=32, width_multiplier=0.05, pseudo_labels=str(directory)
    )
    settings |= dict(
        num_permutations=6,
        permutations_per_image=2,
        tile_fc6_units=8,
        puzzle_fc7_units=8,
        probe_grids=["2"] * 5,
    )
    settings |= dict(patch_fc6_units=8, pair_fc_units=8)
    settings |= dict(counting_fc_units=8, counting_units=8)
    settings |= dict(pixel_head_units=8)
    # A teacher that knows the pseudo-labels, wider than the students.
    teacher = build_classifier(
        AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=()), 4, 32
    )
    settings["teacher_backbone"] = str(tmp_path_factory.mktemp("teacher"))
    backbone_file.save_backbone(teacher.backbone, settings["teacher_backbone"])
    backbone_file.save_model(teacher, f"{settings['teacher_backbone']}/classifier.keras")
    return settings


@pytest.fixture(scope="module")
def own_flags(voc_dir, mask_dir, objects_dir):
    """What a task needs besides, by its name."""
    return dict(
        voc07_classification=dict(data_dir=str(voc_dir), random_crops=2),
        nonlinear_probe=dict(frozen_until="conv3"),
        fcn=dict(data_dir=str(mask_dir), fc_units=["8", "8"]),
        fast_rcnn=dict(
            data_dir=str(objects_dir / "images"),
            proposals_dir=str(objects_dir / "proposals"),
            detection_scales=["48", "64"],
            detection_test_scale=48,
            regions_per_image=8,
            fc_units=["160", "160"],
        ),
    )


def mostly_slow(often):
    """Returns the names of all tasks; those besides `often`, of each kind one, are slow: all of
    them take minutes.
    """
    return [
        pytest.param(name, marks=[] if name in often else pytest.mark.slow)
        for name in registry.TASKS
    ]


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
def test_two_steps_and_the_contract(name, backbone, small_flags, own_flags, tmp_path):
    with flagsaver.flagsaver(**small_flags | own_flags.get(name, {})):
        task = registry.TASKS[name].from_flags()
        assert isinstance(task, Task)

        def build():
            return registry.BACKBONES[backbone].from_flags(
                image_size=32, with_fc=task.with_fc, colors=task.colors
            )

        options = dict(workdir=tmp_path, train_steps=2, batch_size=16, log_steps=1)
        model, metrics, _ = training.train(
            task, build, lambda: optimizers.make_optimizer("sgd", 1e-3), **options
        )
        assert metrics["step"] == 2 and len(metrics["history"]["train"]) == 2
        assert all(np.isfinite(value) for value in metrics["evaluation"].values())
        assert "chance" in metrics["facts"] and "definition" in metrics["facts"]
        first, again, later = (
            next(iter(task.dataset(task.train_split, 16, True, (0, epoch)))) for epoch in (0, 0, 1)
        )
        assert first["seed"].shape == (16, 2) if "seed" in first else not task.trains_backbone
        for key in first:
            np.testing.assert_array_equal(first[key], again[key], err_msg=key)
        assert (first["index"].numpy() != later["index"].numpy()).any()
        losses, per_example = task.loss(model, first, training=False)
        assert losses.shape == (16,) and losses.dtype == tf.float32
        assert all(value.shape == (16,) for value in per_example.values())


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
    name, cache, small_flags, own_flags, tmp_path
):
    if cache and name != "linear_probe":
        pytest.skip("only the linear probe caches features")

    def run(workdir, steps):
        keras.utils.set_random_seed(0)
        task = registry.TASKS[name].from_flags()
        options = dict(train_steps=steps, batch_size=16, log_steps=2)

        def build():
            return registry.BACKBONES["alexnet"].from_flags(
                image_size=32, with_fc=task.with_fc, colors=task.colors
            )

        return training.train(
            task, build, lambda: optimizers.make_optimizer("adam", 1e-3), workdir=workdir, **options
        )

    with flagsaver.flagsaver(**small_flags | own_flags.get(name, {}), cache_features=cache):
        straight, straight_metrics, _ = run(tmp_path / "straight", 5)
        run(tmp_path / "resumed", 3)
        resumed, resumed_metrics, _ = run(tmp_path / "resumed", 5)
    for ours, theirs in zip(straight.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
    assert straight_metrics["evaluation"] == resumed_metrics["evaluation"]


def test_unknown_names_are_refused_with_the_choices():
    with pytest.raises(
        InputError, match="--task=jigsaww: unknown; there are .*jigsaw_pp, .*linear_probe"
    ):
        registry.lookup(registry.TASKS, "jigsaww", "task")


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
def test_networks_of_keras_applications_are_trained_like_ours(
    name, small_flags, own_flags, tmp_path
):
    def run(workdir, steps):
        keras.utils.set_random_seed(0)
        task = registry.TASKS[name].from_flags()
        kind, which = registry.backbone_kind("MobileNetV2")

        def build():
            return kind.from_flags(**which, image_size=32, with_fc=task.with_fc, colors=task.colors)

        options = dict(train_steps=steps, batch_size=16, log_steps=1)
        return training.train(
            task, build, lambda: optimizers.make_optimizer("sgd", 1e-3), workdir=workdir, **options
        )

    with flagsaver.flagsaver(**small_flags | own_flags.get(name, {})):
        straight, metrics, _ = run(tmp_path / "straight", 2)
        assert all(np.isfinite(value) for value in metrics["evaluation"].values())
        if name == "cluster_classification":
            run(tmp_path / "resumed", 1)
            resumed, resumed_metrics, _ = run(tmp_path / "resumed", 2)
            for ours, theirs in zip(straight.variables, resumed.variables, strict=True):
                np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
            assert metrics["evaluation"] == resumed_metrics["evaluation"]


def test_a_run_on_a_network_of_keras_applications_is_started_from(tmp_path):
    backbone = Application(network="MobileNetV2", width_multiplier=0.1)
    save_backbone(backbone, tmp_path)
    with flagsaver.flagsaver(init_backbone=str(tmp_path), image_size=64):
        started = registry.build_backbone(with_fc=True)
        assert flags.FLAGS.backbone == "MobileNetV2" and flags.FLAGS.width_multiplier == 0.1
    assert started.endpoint_names == [*backbone.endpoint_names, "avg_pool"]
    assert (
        started.weights_from["fingerprint"]
        == backbone_fingerprint(backbone)
        == backbone_fingerprint(started)
    )


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
        "cluster_classification",
        "linear_probe",
        *(pytest.param(name, marks=pytest.mark.slow) for name in _ON_OTHERS),
    ],
)
def test_keras_models_of_others_are_trained_like_ours(
    name, foreign, small_flags, own_flags, tmp_path
):
    own = own_flags.get(name, {}) | (
        dict(frozen_until="conv1") if name == "nonlinear_probe" else {}
    )

    def run(workdir, steps):
        keras.utils.set_random_seed(0)
        task = registry.TASKS[name].from_flags()
        build = functools.partial(
            registry.build_backbone, with_fc=task.with_fc, colors=task.colors, keep_fc=task.keep_fc
        )
        options = dict(train_steps=steps, batch_size=16, log_steps=1)
        return training.train(
            task, build, lambda: optimizers.make_optimizer("sgd", 1e-3), workdir=workdir, **options
        )

    flag_values = small_flags | dict(probe_grids=["2"], width_multiplier=1.0) | own
    with flagsaver.flagsaver(**flag_values, init_backbone=foreign, input_range=["0", "1"]):
        straight, metrics, _ = run(tmp_path / "straight", 2)
        assert flags.FLAGS.backbone == "keras"
        assert all(np.isfinite(value) for value in metrics["evaluation"].values())
        if name == "cluster_classification":
            run(tmp_path / "resumed", 1)
            resumed, resumed_metrics, _ = run(tmp_path / "resumed", 2)
            for ours, theirs in zip(straight.variables, resumed.variables, strict=True):
                np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
            assert metrics["evaluation"] == resumed_metrics["evaluation"]
            save_backbone(straight.backbone, tmp_path / "straight")
    if name == "cluster_classification":
        with flagsaver.flagsaver(
            init_backbone=str(tmp_path / "straight"), image_size=32, backbone="keras"
        ):
            assert backbone_fingerprint(registry.build_backbone()) == backbone_fingerprint(
                straight.backbone
            )


def test_what_keras_models_of_others_cannot_be_asked(foreign):
    def refused(message, **values):
        with (
            flagsaver.flagsaver(**dict(image_size=32, **values)),
            pytest.raises(InputError, match=message) as error,
        ):
            registry.build_backbone()
        assert "\n" not in str(error.value)

    refused(
        "net.keras: holds a Functional that is none of this project's; say what",
        init_backbone=foreign,
    )
    given = dict(input_range=["0", "1"])
    refused(
        "--width_multiplier=0.5: net brings its own",
        init_backbone=foreign,
        width_multiplier=0.5,
        **given,
    )
    refused(
        "--normalization=lrn: net brings its own",
        init_backbone=foreign,
        normalization="lrn",
        **given,
    )
    refused("--backbone=keras: is what --init_backbone=FILE.keras holds", backbone="keras")
    # A sweep over networks gives all of them the same flags.
    with flagsaver.flagsaver(image_size=32, init_backbone="random", width_multiplier=0.1, **given):
        assert registry.build_backbone().name == "alexnet"


def test_backbones_are_looked_up_here_and_in_keras_applications():
    assert registry.backbone_kind("vgg16") == (registry.BACKBONES["vgg16"], {})
    assert registry.backbone_kind("VGG16") == (Application, dict(network="VGG16"))
    with pytest.raises(
        InputError,
        match="--backbone=resnet50: unknown; there are alexnet, vgg16 and those of "
        "keras.applications, .*ResNet50",
    ):
        registry.backbone_kind("resnet50")


def test_the_word_random_is_no_file():
    with flagsaver.flagsaver(init_backbone="random", image_size=64, width_multiplier=0.1):
        assert registry.build_backbone().weights_from is None


@pytest.mark.slow
def test_frozen_fully_connected_layers_come_from_the_file(tmp_path):
    source = AlexNet(width_multiplier=0.1, fc_units=(24, 16), image_size=128)
    save_backbone(source, tmp_path)
    with flagsaver.flagsaver(init_backbone=str(tmp_path), image_size=128):
        kept = registry.build_backbone(with_fc=True, keep_fc=True)
        np.testing.assert_array_equal(kept.get_layer("fc7").kernel, source.get_layer("fc7").kernel)

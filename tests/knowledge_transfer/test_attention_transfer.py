import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf import registry
from ccssl_tf.clustering.pseudo_labels import PseudoLabels, write_pseudo_labels
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.knowledge_transfer.attention_transfer import AttentionTransfer, attention_maps
from ccssl_tf.knowledge_transfer.feature_regression import FeatureRegression
from ccssl_tf.models import backbone_file
from ccssl_tf.models.alexnet import AlexNet, AlexNetSettings
from ccssl_tf.pretext.context_encoder import ContextEncoder
from ccssl_tf.pretext.jigsaw_pp import JigsawPP
from ccssl_tf.pretext.rotation import Rotation
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.settings import fields_of
from ccssl_tf.task import Epoch, TaskSettings


def jigsaw_pp(image_dir):
    return JigsawPP(
        data_dir=str(image_dir),
        image_size=32,
        num_permutations=6,
        permutations_per_image=2,
        tile_fc6_units=8,
        puzzle_fc7_units=8,
        eval_batch_size=8,
    )


def add_attention(base, teacher, **options):
    shared = {field.name: getattr(base.settings, field.name) for field in fields_of(TaskSettings)}
    return AttentionTransfer(base, teacher_backbone=str(teacher), **dict(shared, **options))


def attention(maps, side):
    """at(x) of experiments/PROTOCOLS.md, "Distillation", in loops, at `side` x `side` places."""
    energy = (maps.astype(np.float64) ** 2).mean(-1)
    step = energy.shape[1] // side
    result = np.zeros([len(maps), side * side])
    for i in range(side):
        for j in range(side):
            # At half the size a bilinear resize averages blocks of 2x2.
            result[:, i * side + j] = energy[
                :, step * i : step * (i + 1), step * j : step * (j + 1)
            ].mean((1, 2))
    return result / np.sqrt((result**2).sum(1, keepdims=True))


@pytest.mark.parametrize("sides", [(4, 4), (8, 4), (4, 8)])
def test_attention_maps_of_equal_and_unequal_shapes(sides):
    random = np.random.default_rng(0)
    maps = [
        random.normal(size=[2, side, side, channels]).astype(np.float32)
        for side, channels in zip(sides, (5, 3), strict=True)
    ]
    for ours, expected in zip(
        attention_maps(*maps), (attention(x, min(sides)) for x in maps), strict=True
    ):
        assert ours.dtype == tf.float32 and ours.shape == (2, 16)
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_a_map_of_zeros_has_no_attention_and_a_finite_gradient():
    maps = tf.Variable(tf.zeros([1, 2, 2, 3]))
    with tf.GradientTape() as tape:
        ours, theirs = attention_maps(maps, tf.ones([1, 2, 2, 1]))
        loss = tf.reduce_mean(tf.math.squared_difference(ours, theirs))
    np.testing.assert_allclose(loss, 0.25)
    assert np.isfinite(tape.gradient(loss, maps)).all()


def test_the_loss_is_the_base_tasks_and_the_attention_of_whole_images(
    image_dir, vgg16_teacher, small_alexnet
):
    """VGG16's conv3_3 is 8x8, AlexNet's conv3 4x4; conv4_3 is as AlexNet's, conv5_3 2x2."""
    base, student = jigsaw_pp(image_dir), small_alexnet()
    task = add_attention(base, vgg16_teacher)
    model = task.build_model(student)
    batch = next(iter(task.dataset("train", Epoch(16))))
    losses, metrics = task.loss(model, batch, training=False)
    teacher = backbone_file.load_backbone(vgg16_teacher)
    images = batch["image"].numpy()
    ours, theirs = (net(net.normalize(images), training=False) for net in (student, teacher))
    # The jigsaw's crop of a 32-pixel image has 30 pixels: pools round up.
    expected = 0.0
    for own, other in task.pairs(student, task.teacher(model)).items():
        side = min(ours[own].shape[1], theirs[other].shape[1])
        assert {ours[own].shape[1] // side, theirs[other].shape[1] // side} <= {1, 2}
        maps = [attention(x.numpy(), side) for x in (ours[own], theirs[other])]
        np.testing.assert_allclose(
            metrics[f"similarity/{own}"], (maps[0] * maps[1]).sum(1), rtol=1e-3
        )
        expected += 1000 * ((maps[0] - maps[1]) ** 2).mean(1)
    np.testing.assert_allclose(metrics["attention_loss"], expected, rtol=2e-3)
    base_losses, base_metrics = base.loss(model, batch, training=False)
    np.testing.assert_allclose(metrics["base_loss"], base_losses, rtol=1e-6)
    np.testing.assert_allclose(losses, base_losses + metrics["attention_loss"], rtol=1e-6)
    np.testing.assert_array_equal(metrics["accuracy"], base_metrics["accuracy"])


def test_batch_statistics_are_those_of_the_base_task_alone(
    image_dir, alexnet_teacher, small_alexnet
):
    student = small_alexnet()
    start = [variable.numpy() for variable in student.variables]
    base = jigsaw_pp(image_dir)
    task = add_attention(base, alexnet_teacher)
    model = task.build_model(student)
    batch = next(iter(task.dataset("train", Epoch(16))))
    after = []
    for one in (base, task):
        for variable, value in zip(student.variables, start, strict=True):
            variable.assign(value)
        one.loss(model, batch, training=True)
        after.append([variable.numpy() for variable in student.variables])
    assert any((old != new).any() for old, new in zip(start, after[0], strict=True))
    for ours, theirs in zip(*after, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_model_is_the_base_tasks_and_the_teacher_no_part_of_it(
    image_dir, alexnet_teacher, small_alexnet
):
    base = jigsaw_pp(image_dir)
    task = add_attention(base, alexnet_teacher)
    model, plain = task.build_model(small_alexnet()), base.build_model(small_alexnet())
    assert [variable.path for variable in model.variables] == [
        variable.path for variable in plain.variables
    ]
    assert (
        task.batch_multiple == 8
        and task.eval_split == "val"
        and task.settings.eval_batch_size == 8
        and not task.with_fc
    )
    assert task.inputs()["teacher_backbone"] == str(alexnet_teacher)
    facts = task.facts(model)
    assert (
        facts["chance"] == base.facts(model)["chance"]
        and facts["base_task"] == "JigsawPP"
        and facts["attention_weight"] == 1000
    )
    with tf.GradientTape() as tape:
        losses, _ = task.loss(model, next(iter(task.dataset("train", Epoch(16)))), training=True)
    assert set(
        tape.gradient(losses, [variable.value for variable in task.teacher(model).variables])
    ) == {None}
    assert task.pictures(model)["puzzle"].dtype == np.uint8


def test_every_image_of_the_held_out_split_counts_once(image_dir, alexnet_teacher, small_alexnet):
    base = Rotation(data_dir=str(image_dir), image_size=32, eval_batch_size=6)
    task = add_attention(base, alexnet_teacher, student_endpoints=("conv4",), attention_weight=10.0)
    model = task.build_model(small_alexnet())
    record, of_base = task.evaluate(model).metrics, base.evaluate(model).metrics
    np.testing.assert_allclose(record["base_loss"], of_base["loss"], rtol=1e-5)
    assert record["accuracy"] == of_base["accuracy"]
    np.testing.assert_allclose(
        record["loss"], record["base_loss"] + record["attention_loss"], rtol=1e-5
    )
    # Maps of length 1: |a - b|^2 = 2 - 2 a b, over 16 places.
    np.testing.assert_allclose(
        record["attention_loss"], 10 * (2 - 2 * record["similarity/conv4"]) / 16, rtol=1e-3
    )


def test_a_base_task_with_an_evaluation_of_its_own_is_asked(
    image_dir, alexnet_teacher, small_alexnet
):
    base = ContextEncoder(data_dir=str(image_dir), image_size=32, mask="center", eval_batch_size=8)
    task = add_attention(base, alexnet_teacher)
    model = task.build_model(small_alexnet())
    result = task.evaluate(model)
    record = result.metrics
    assert task.facts(model, result)["chance"] == record["mean_color_error"] > 0
    np.testing.assert_allclose(
        record["loss"], record["base_loss"] + record["attention_loss"], rtol=1e-5
    )


class FrozenTask(Rotation):
    """An evaluation: it trains no backbone."""

    trains_backbone = False


class Imageless(Rotation):
    """Its batches are of something else."""

    def dataset(self, split, epoch, model=None):
        return super().dataset(split, epoch).map(lambda batch: {"boxes": batch["seed"]})


@pytest.mark.parametrize("kind", [FrozenTask, Imageless])
def test_a_task_that_trains_no_backbone_on_images_is_no_base_task(kind, image_dir, alexnet_teacher):
    base = kind(data_dir=str(image_dir), image_size=32)
    with pytest.raises(InputError, match=f"^--base_task: {kind.__name__} trains no backbone"):
        add_attention(base, alexnet_teacher)


def test_every_base_task_of_the_registry_trains_a_backbone():
    assert registry.BASE_TASKS and "attention_transfer" not in registry.BASE_TASKS
    assert all(kind.trains_backbone for kind in registry.BASE_TASKS.values())
    assert AttentionTransfer.Settings.base_task in registry.BASE_TASKS


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("image_size", 48, "^--image_size=48: the base task Rotation has 32; give both the same"),
        ("eval_batch_size", 5, "^--eval_batch_size=5: the base task Rotation has 64"),
        ("attention_weight", -1.0, "^--attention_weight=-1.0: must be 0 or more"),
        ("teacher_endpoints", ("conv3",), "^--student_endpoints has 3 layers, .*_endpoints 1"),
    ],
)
def test_settings_that_can_never_be_right_are_refused(
    name, value, message, image_dir, alexnet_teacher
):
    base = Rotation(data_dir=str(image_dir), image_size=32)
    with pytest.raises(FlagError, match=message):
        add_attention(base, alexnet_teacher, **{name: value})


def test_a_base_task_that_compares_layers_too_compares_the_same(
    image_dir, alexnet_teacher, small_alexnet
):
    given = dict(data_dir=str(image_dir), image_size=32, teacher_backbone=str(alexnet_teacher))
    base = FeatureRegression(**given, student_endpoints=("conv3",))
    with pytest.raises(
        FlagError, match="^--student_endpoints=conv4: the base task FeatureRegression has conv3"
    ):
        AttentionTransfer(base, **given, student_endpoints=("conv4",))
    task = AttentionTransfer(base, **given, student_endpoints=("conv3",))
    model = task.build_model(small_alexnet())
    assert task.resolved(model.backbone) == (task.settings, base.settings)
    assert set(task.evaluate(model).metrics) >= {"error/conv3", "similarity/conv3"}


def test_any_method_of_a_new_task_may_be_the_first(image_dir, alexnet_teacher, small_alexnet):
    model = add_attention(jigsaw_pp(image_dir), alexnet_teacher).build_model(small_alexnet())
    layers = ("conv3", "conv4", "conv5")

    def losses(task):
        return task.loss(model, next(iter(task.dataset("train", Epoch(16)))), training=False)[0]

    calls_of = dict(
        facts=lambda task: task.facts(model)["pairs"] == {name: name for name in layers},
        pictures=lambda task: task.pictures(model)["puzzle"].dtype == np.uint8,
        loss=lambda task: losses(task).shape == 16,
        evaluate=lambda task: task.evaluate(model).metrics["attention_loss"] > 0,
        resolved=lambda task: (
            task.resolved(model.backbone) == (task.settings, task.base.settings)
            and task.settings.teacher_endpoints == layers
        ),
        inputs=lambda task: "teacher_backbone" in task.inputs(),
    )
    for first in calls_of:
        task = add_attention(jigsaw_pp(image_dir), alexnet_teacher)
        assert calls_of[first](task), first
    assert all(call(task) for call in calls_of.values())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", registry.BASE_TASKS)
def test_any_task_that_trains_a_backbone_may_be_the_base(
    name, precision, image_dir, alexnet_teacher, tmp_path
):
    splits = {}
    for split, size in dict(train=48, val=16).items():
        fingerprint = Manifest.read(image_dir, "images").fingerprint(split)
        splits[split] = PseudoLabels(
            fingerprint,
            np.arange(size),
            np.arange(size, dtype=np.int32) % 3,
            np.zeros(size, np.float32),
        )
    write_pseudo_labels(tmp_path, splits, num_clusters=3)
    units = "tile_fc6 puzzle_fc7 patch_fc6 pair_fc counting_fc counting pixel_head"
    given = dict.fromkeys((f"{layer}_units" for layer in units.split()), 8) | dict(
        data_dir=str(image_dir),
        image_size=32,
        pseudo_labels=str(tmp_path),
        num_permutations=6,
        teacher_backbone=str(alexnet_teacher),
        student_endpoints=("conv3", "conv4", "conv5"),
    )
    keras.config.set_dtype_policy(precision)
    try:
        kind = registry.BASE_TASKS[name]
        base, settings = (
            {field.name: given[field.name] for field in fields_of(cls) if field.name in given}
            for cls in (kind.Settings, AttentionTransfer.Settings)
        )
        task = AttentionTransfer(kind(**base), **settings, base_task=name)
        architecture = AlexNetSettings(width_multiplier=0.05)
        model = task.build_model(
            AlexNet.from_settings(
                architecture, image_size=32, with_fc=task.with_fc, colors=task.colors
            )
        )
        batch = next(iter(task.dataset("train", Epoch(16))))
        losses, metrics = task.loss(model, batch, training=True)
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses.shape == (16,) and losses.dtype == tf.float32 and np.isfinite(losses).all()
    assert all(value.shape == (16,) and value.dtype == tf.float32 for value in metrics.values())

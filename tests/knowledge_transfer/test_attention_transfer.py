import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

from ccssl_tf import registry
from ccssl_tf.clustering.pseudo_labels import PseudoLabels, write_pseudo_labels
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.knowledge_transfer.attention_transfer import AttentionTransfer, attention_maps
from ccssl_tf.models import backbone_file
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.pretext.context_encoder import ContextEncoder
from ccssl_tf.pretext.jigsaw_pp import JigsawPP
from ccssl_tf.pretext.permutations import generate_permutations
from ccssl_tf.pretext.rotation import Rotation
from ccssl_tf.runs.errors import InputError


def jigsaw_pp(image_dir):
    return JigsawPP(
        data_dir=image_dir,
        image_size=32,
        permutations=generate_permutations(6, 3, 0),
        permutations_per_image=2,
        gray_probability=0.7,
        tile_units=8,
        head_units=8,
        eval_batch_size=8,
    )


def add_attention(base, teacher, endpoints=("conv3", "conv4", "conv5"), weight=1000.0):
    return AttentionTransfer(
        base=base,
        teacher_path=teacher,
        student_endpoints=list(endpoints),
        teacher_endpoints=list(endpoints),
        weight=weight,
    )


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
    batch = next(iter(task.dataset("train", 16, True, (0, 0))))
    losses, metrics = task.loss(model, batch, training=False)
    teacher = backbone_file.load_backbone(vgg16_teacher)
    images = batch["image"].numpy()
    ours, theirs = (net(net.normalize(images), training=False) for net in (student, teacher))
    # The jigsaw's crop of a 32-pixel image has 30 pixels: pools round up.
    expected = 0.0
    for own, other in task.pairs.items():
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
    batch = next(iter(task.dataset("train", 16, True, (0, 0))))
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
        and task.eval_batch_size == 8
        and not task.with_fc
    )
    assert task.inputs()["teacher_backbone"] == alexnet_teacher
    facts = task.facts()
    assert (
        facts["chance"] == base.facts()["chance"]
        and facts["base_task"] == "JigsawPP"
        and facts["attention_weight"] == 1000
    )
    with tf.GradientTape() as tape:
        losses, _ = task.loss(
            model, next(iter(task.dataset("train", 16, True, (0, 0)))), training=True
        )
    assert set(tape.gradient(losses, [variable.value for variable in task._teacher.variables])) == {
        None
    }
    assert task.pictures(model)["puzzle"].dtype == np.uint8


def test_every_image_of_the_held_out_split_counts_once(image_dir, alexnet_teacher, small_alexnet):
    base = Rotation(data_dir=image_dir, image_size=32, eval_batch_size=6)
    task = add_attention(base, alexnet_teacher, ["conv4"], weight=10)
    model = task.build_model(small_alexnet())
    record, of_base = task.evaluate(model), base.evaluate(model)
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
    base = ContextEncoder(data_dir=image_dir, image_size=32, mask="center", eval_batch_size=8)
    task = add_attention(base, alexnet_teacher)
    record = task.evaluate(task.build_model(small_alexnet()))
    assert task.facts()["chance"] == record["mean_color_error"] > 0
    np.testing.assert_allclose(
        record["loss"], record["base_loss"] + record["attention_loss"], rtol=1e-5
    )


@pytest.mark.parametrize("name", ["linear_probe", "attention_transfer", "jigsaww"])
def test_what_cannot_be_a_base_task_is_refused_with_the_choices(name, image_dir, alexnet_teacher):
    settings = dict(
        base_task=name,
        teacher_backbone=str(alexnet_teacher),
        data_dir=str(image_dir),
        image_size=32,
    )
    with (
        flagsaver.flagsaver(**settings),
        pytest.raises(
            InputError, match=f"--base_task={name}: .* attention_transfer|{name}: .*jigsaw_pp"
        ),
    ):
        registry.TASKS["attention_transfer"].from_flags()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    "name", [n for n, task in AttentionTransfer.base_tasks.items() if task is not AttentionTransfer]
)
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
    settings = dict(
        data_dir=str(image_dir),
        image_size=32,
        width_multiplier=0.05,
        pseudo_labels=str(tmp_path),
        num_permutations=6,
    )
    settings |= dict(
        tile_fc6_units=8,
        puzzle_fc7_units=8,
        patch_fc6_units=8,
        pair_fc_units=8,
        counting_fc_units=8,
        counting_units=8,
    )
    settings |= dict(pixel_head_units=8, teacher_backbone=str(alexnet_teacher), base_task=name)
    keras.config.set_dtype_policy(precision)
    try:
        with flagsaver.flagsaver(**settings):
            task = AttentionTransfer.from_flags()
            model = task.build_model(
                AlexNet.from_flags(image_size=32, with_fc=task.with_fc, colors=task.colors)
            )
            losses, metrics = task.loss(
                model, next(iter(task.dataset("train", 16, True, (0, 0)))), training=True
            )
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses.shape == (16,) and losses.dtype == tf.float32 and np.isfinite(losses).all()
    assert all(value.shape == (16,) and value.dtype == tf.float32 for value in metrics.values())

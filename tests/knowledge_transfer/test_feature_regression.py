import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.knowledge_transfer.feature_regression import FeatureRegression
from ccssl_tf.models import backbone_file
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.task import Epoch


def make_task(image_dir, teacher, ours=("conv4", "conv5"), theirs=None):
    return FeatureRegression(
        data_dir=str(image_dir),
        image_size=32,
        teacher_backbone=str(teacher),
        eval_batch_size=8,
        student_endpoints=ours,
        teacher_endpoints=theirs,
    )


def first_batch(task):
    return next(iter(task.dataset("train", Epoch(16))))


def maps_of(network, images):
    return {
        name: value.numpy().astype(np.float64)
        for name, value in network(network.normalize(images), training=False).items()
    }


def statistics(task, network, endpoint):
    """Mean and deviation of every channel over all training images, one central crop each, from the
    definition.
    """
    values = []
    for batch in task.dataset("train", Epoch(16, training=False)):
        maps = maps_of(network, batch["image"])[endpoint]
        values.append(maps[batch["weight"].numpy() > 0].reshape(-1, maps.shape[-1]))
    values = np.concatenate(values)
    deviation = values.std(0)
    return values.mean(0), np.maximum(deviation, 0.01 * np.sqrt((deviation**2).mean()))


def halved(maps):
    """Bilinear resize to half the size at pixel centres: the mean of each 2x2 block."""
    result = np.zeros([maps.shape[0], maps.shape[1] // 2, maps.shape[2] // 2, maps.shape[3]])
    for i in range(result.shape[1]):
        for j in range(result.shape[2]):
            result[:, i, j] = maps[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2))
    return result


def compare_channel_by_channel(model, task, teacher):
    """Makes the maps from student to teacher only normalise, as the teacher's channels are."""
    for name in ("conv4", "conv5"):
        mean, deviation = statistics(task, teacher, name)
        model.get_layer(f"{name}_to_teacher").set_weights(
            [np.diag(1 / deviation)[None, None], -mean / deviation]
        )


def test_equal_shapes_are_compared_channel_by_channel(image_dir, alexnet_teacher):
    task = make_task(image_dir, alexnet_teacher)
    student = AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    model = task.build_model(student)
    compare_channel_by_channel(model, task, backbone_file.load_backbone(alexnet_teacher))
    batch = first_batch(task)
    losses, metrics = task.loss(model, batch, training=False)
    teacher = backbone_file.load_backbone(alexnet_teacher)
    ours, theirs = maps_of(student, batch["image"]), maps_of(teacher, batch["image"])
    expected = {}
    for name in ("conv4", "conv5"):
        _, deviation = statistics(task, teacher, name)
        expected[name] = np.zeros(16)
        for i in range(ours[name].shape[1]):
            for j in range(ours[name].shape[2]):
                expected[name] += (
                    ((ours[name][:, i, j] - theirs[name][:, i, j]) / deviation) ** 2
                ).mean(-1)
        expected[name] /= ours[name].shape[1] * ours[name].shape[2]
        np.testing.assert_allclose(metrics[f"error/{name}"], expected[name], rtol=1e-3)
    np.testing.assert_allclose(losses, (expected["conv4"] + expected["conv5"]) / 2, rtol=1e-3)
    assert task.facts(model)["pairs"] == dict(conv4="conv4", conv5="conv5")
    assert len(model.trainable_variables) == len(student.trainable_variables) + 4


def test_the_teacher_itself_makes_no_error(image_dir, alexnet_teacher):
    task = make_task(image_dir, alexnet_teacher)
    teacher = backbone_file.load_backbone(alexnet_teacher)
    model = task.build_model(teacher)
    compare_channel_by_channel(model, task, teacher)
    np.testing.assert_allclose(task.loss(model, first_batch(task), training=False)[0], 0, atol=1e-6)


@pytest.mark.parametrize("student_is_larger", [False, True])
def test_unequal_shapes_go_through_the_learnt_map(
    image_dir, alexnet_teacher, vgg16_teacher, small_alexnet, student_is_larger
):
    """AlexNet's conv4 is 4x4, VGG16's conv3_3 8x8."""
    if student_is_larger:
        student, path = (
            VGG16(normalization="batch_norm", width_multiplier=0.05, fc_units=()),
            alexnet_teacher,
        )
        task = make_task(image_dir, path, ("conv3",), ("conv4",))
        own, other = "conv3_3", "conv4"
    else:
        student, path = small_alexnet(), vgg16_teacher
        task = make_task(image_dir, path, ("conv4",), ("conv3_2",))
        own, other = "conv4", "conv3_2"
    model = task.build_model(student)
    batch = first_batch(task)
    losses, _ = task.loss(model, batch, training=False)
    teacher = backbone_file.load_backbone(path)
    ours, theirs = maps_of(student, batch["image"])[own], maps_of(teacher, batch["image"])[other]
    mean, deviation = statistics(task, teacher, other)
    kernel, bias = (
        value.astype(np.float64) for value in model.get_layer(f"{own}_to_teacher").get_weights()
    )
    ours = np.einsum("byxc,cd->byxd", ours, kernel[0, 0]) + bias
    theirs = (theirs - mean) / deviation
    ours, theirs = (halved(maps) if maps.shape[1] == 8 else maps for maps in (ours, theirs))
    np.testing.assert_allclose(losses, ((ours - theirs) ** 2).mean((1, 2, 3)), rtol=1e-3)


def test_only_the_student_and_its_maps_are_trained_and_known_to_the_model(
    image_dir, vgg16_teacher, small_alexnet
):
    task, student = make_task(image_dir, vgg16_teacher), small_alexnet()
    model = task.build_model(student)
    added = [layer for layer in model.layers if layer.name.endswith("_to_teacher")]
    own = {id(variable) for layer in (student, *added) for variable in layer.variables}
    assert len(added) == 2 and {id(variable) for variable in model.variables} == own
    batch = first_batch(task)
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_sum(task.loss(model, batch, training=True)[0])
    assert None not in tape.gradient(
        loss, [variable.value for variable in model.trainable_variables]
    )
    assert set(
        tape.gradient(loss, [variable.value for variable in task.teacher(model).variables])
    ) == {None}


def test_statistics_are_measured_once_and_answering_the_mean_costs_one(
    image_dir, vgg16_teacher, small_alexnet, monkeypatch
):
    task = make_task(image_dir, vgg16_teacher)
    model = task.build_model(small_alexnet())
    monkeypatch.setattr(task, "_measure", None)
    model = task.build_model(small_alexnet())
    for layer in model.layers:
        if layer.name.endswith("_to_teacher"):
            layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    total = weight = 0.0
    for batch in task.dataset("train", Epoch(16, training=False)):
        losses, _ = task.loss(model, batch, training=False)
        total, weight = (
            total + float(tf.reduce_sum(losses * batch["weight"])),
            weight + float(tf.reduce_sum(batch["weight"])),
        )
    # Less by the channels that hardly fire, whose deviation counts as larger than it is.
    assert 0.7 < total / weight < 1.0001
    assert task.facts(model)["chance"] == 1


def test_a_teacher_that_sees_nothing_is_refused(image_dir, tmp_path, small_alexnet):
    dead = small_alexnet()
    dead.get_layer("conv4_norm").gamma.assign(0 * dead.get_layer("conv4_norm").gamma)
    backbone_file.save_backbone(dead, tmp_path)
    with pytest.raises(InputError, match="its conv4 answers every image alike"):
        make_task(image_dir, tmp_path).build_model(small_alexnet())


def test_any_method_of_a_new_task_may_be_the_first(image_dir, vgg16_teacher, small_alexnet):
    model = make_task(image_dir, vgg16_teacher).build_model(small_alexnet())
    pairs = dict(conv4="conv4_3", conv5="conv5_3")
    calls_of = dict(
        facts=lambda task: task.facts(model)["pairs"] == pairs,
        pictures=lambda task: task.pictures(model) == {},
        loss=lambda task: task.loss(model, first_batch(task), training=False)[0].shape == 16,
        evaluate=lambda task: task.evaluate(model).metrics["loss"] > 0,
        resolved=lambda task: task.resolved(model.backbone) == (task.settings,),
        inputs=lambda task: task.inputs() == dict(teacher_backbone=str(vgg16_teacher)),
    )
    for first in calls_of:
        task = make_task(image_dir, vgg16_teacher)
        assert calls_of[first](task), first
    assert all(call(task) for call in calls_of.values())


def test_layers_are_conv4_and_conv5_unless_given(image_dir, alexnet_teacher):
    given = dict(data_dir=str(image_dir), image_size=32, teacher_backbone=str(alexnet_teacher))
    settings = FeatureRegression(**given).settings
    assert settings.student_endpoints == settings.teacher_endpoints == ("conv4", "conv5")
    with pytest.raises(FlagError, match="^--student_endpoints has 2 layers, --teacher_endpoints 1"):
        FeatureRegression(**given, teacher_endpoints=("conv4",))

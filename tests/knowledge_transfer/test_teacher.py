import gc
import shutil
import weakref

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.knowledge_transfer import teacher
from ccssl_tf.knowledge_transfer.feature_regression import FeatureRegression
from ccssl_tf.models import backbone_file
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.runs.errors import CorruptArtifactError, FlagError, InputError
from ccssl_tf.task import Epoch

IMAGES = np.random.default_rng(0).integers(0, 256, [2, 32, 32, 3], np.uint8)


def test_it_is_frozen_in_inference_mode_and_gives_no_gradient(alexnet_teacher):
    network, trained = (
        teacher.load_convolutions(alexnet_teacher),
        backbone_file.load_backbone(alexnet_teacher),
    )
    assert not network.trainable_variables
    before = [variable.numpy() for variable in network.variables]
    images = tf.Variable(IMAGES.astype(np.float32))
    with tf.GradientTape(persistent=True) as tape:
        answer = teacher.ask(network, images)
        total = tf.add_n([tf.reduce_sum(value) for value in answer.values()])
    assert tape.gradient(total, images) is None
    assert tape.gradient(total, [variable.value for variable in network.variables]) == [None] * len(
        network.variables
    )
    expected = trained(trained.normalize(IMAGES), training=False)
    for name, value in expected.items():
        np.testing.assert_array_equal(answer[name], value)
    for old, new in zip(before, network.variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_facts_name_the_network_and_the_fingerprint_of_its_file(alexnet_teacher):
    expected = dict(
        teacher=dict(
            network="AlexNet", fingerprint=backbone_file.describe(alexnet_teacher)["fingerprint"]
        )
    )
    assert teacher.facts(teacher.load_convolutions(alexnet_teacher)) == expected
    assert teacher.facts(teacher.load_convolutions(alexnet_teacher / "backbone.keras")) == expected
    assert teacher.facts(teacher.load_classifier(alexnet_teacher, 32)) == expected


def test_a_full_size_network_is_asked_about_images_of_any_size_at_stride_4(tmp_path):
    """Though it was trained with fully connected layers, or with stride 2 on tiles."""
    trained = AlexNet(
        normalization="none", width_multiplier=0.1, fc_units=(8, 8), image_size=131, conv1_stride=2
    )
    backbone_file.save_backbone(trained, tmp_path)
    network = teacher.load_convolutions(tmp_path)
    assert network.endpoint_names == ["conv1", "conv2", "conv3", "conv4", "conv5", "pool5"]
    assert network(np.zeros([1, 227, 227, 3], np.float32))["conv4"].shape[1:3] == (13, 13)
    np.testing.assert_array_equal(
        network.get_layer("conv3").kernel, trained.get_layer("conv3").kernel
    )
    assert (
        teacher.facts(network)["teacher"]["fingerprint"]
        == backbone_file.describe(tmp_path)["fingerprint"]
    )


def test_a_teacher_that_is_not_there_is_refused(image_dir, tmp_path):
    with pytest.raises(FlagError, match="^--teacher_backbone: not given"):
        teacher.TeacherSettings(teacher_backbone="")
    missing = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match=f"^--teacher_backbone={missing}: no such file"):
        FeatureRegression(data_dir=str(image_dir), image_size=32, teacher_backbone=missing)
    with pytest.raises(InputError, match=r"backbone\.keras: no such file"):
        teacher.load_convolutions(tmp_path)


def test_every_model_has_one_teacher_as_long_as_it_lives(image_dir, alexnet_teacher, small_alexnet):
    task, other = (
        FeatureRegression(
            data_dir=str(image_dir), image_size=32, teacher_backbone=str(alexnet_teacher)
        )
        for _ in range(2)
    )
    assert task.inputs() == dict(teacher_backbone=str(alexnet_teacher))
    models = [task.build_model(small_alexnet()) for _ in range(2)]
    first, second = (task.teacher(model) for model in models)
    assert id(first) != id(second) and task.teacher(models[0]) is first
    # Asked while a step is being traced, the teacher's variables are made outside of the graph.
    batch = next(iter(task.dataset("train", Epoch(16))))
    traced = tf.function(lambda: other.loss(models[0], batch, training=False)[0], autograph=False)
    np.testing.assert_allclose(traced(), task.loss(models[0], batch, training=False)[0], rtol=1e-5)
    assert other.teacher(models[0]) is other.teacher(models[0])
    gone = weakref.ref(second)
    del models[1], second
    # The model lets go of its teacher when it is collected itself.
    gc.collect()
    gc.collect()
    assert gone() is None


def test_a_classifier_is_loaded_or_refused(alexnet_teacher, tmp_path):
    model = teacher.load_classifier(alexnet_teacher / "backbone.keras", 32)
    assert not model.trainable_variables
    assert teacher.ask(model, IMAGES)["logits"].shape == (2, 3)
    with pytest.raises(
        InputError, match="--image_size=48: the teacher in .* takes images of 32 pixels"
    ):
        teacher.load_classifier(alexnet_teacher, 48)
    for name in ("backbone.keras", "backbone.json"):
        shutil.copy(alexnet_teacher / name, tmp_path)
    with pytest.raises(InputError, match="a network without logits"):
        teacher.load_classifier(tmp_path, 32)
    shutil.copy(tmp_path / "backbone.keras", tmp_path / "classifier.keras")
    with pytest.raises(InputError, match="not a classifier of this project"):
        teacher.load_classifier(tmp_path, 32)
    content = (alexnet_teacher / "classifier.keras").read_bytes()
    (tmp_path / "classifier.keras").write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptArtifactError, match=r"classifier\.keras: cannot be loaded"):
        teacher.load_classifier(tmp_path, 32)

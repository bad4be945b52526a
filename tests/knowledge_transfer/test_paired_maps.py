import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.knowledge_transfer import paired_maps
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.task import TaskSettings


def small_vgg16():
    return VGG16(normalization="batch_norm", width_multiplier=0.05, fc_units=())


def interpolated(maps, height, width):
    """Each pixel from its four neighbours, in loops; centres of pixels at one half."""
    result = np.zeros([len(maps), height, width, maps.shape[3]])
    for i in range(height):
        for j in range(width):
            y, x = (i + 0.5) * maps.shape[1] / height - 0.5, (j + 0.5) * maps.shape[2] / width - 0.5
            top, left = int(np.floor(y)), int(np.floor(x))
            for row, share in ((top, 1 - (y - top)), (top + 1, y - top)):
                for column, part in ((left, 1 - (x - left)), (left + 1, x - left)):
                    if share * part > 0:
                        result[:, i, j] += share * part * maps[:, row, column]
    return result


@pytest.mark.parametrize(
    "ours, theirs",
    [
        ((13, 13), (28, 28)),
        ((13, 13), (14, 14)),
        ((5, 7), (3, 9)),
        ((4, 4), (1, 1)),
        ((6, 6), (6, 6)),
    ],
)
def test_the_larger_map_is_resized_to_the_smaller(ours, theirs):
    random = np.random.default_rng(0)
    maps = [random.normal(size=[2, *size, 3]).astype(np.float32) for size in (ours, theirs)]
    height, width = np.minimum(ours, theirs)
    for before, after in zip(maps, paired_maps.to_one_size(*maps), strict=True):
        np.testing.assert_allclose(after, interpolated(before, height, width), atol=1e-5)
        np.testing.assert_allclose(after, tf.image.resize(before, [height, width]), atol=1e-5)


def test_half_precision_comes_out_as_float32():
    ours, theirs = paired_maps.to_one_size(
        tf.ones([1, 2, 2, 1], tf.float16), tf.ones([1, 3, 3, 1], tf.bfloat16)
    )
    assert ours.dtype == theirs.dtype == tf.float32 and ours.shape == theirs.shape == (1, 2, 2, 1)


def test_a_stage_stands_for_its_last_convolution(small_alexnet):
    student = small_alexnet()
    assert paired_maps.pair(
        student, small_vgg16(), ["conv4", "conv5"], ["conv4", "conv5"], 32
    ) == dict(conv4="conv4_3", conv5="conv5_3")
    assert paired_maps.pair(student, small_vgg16(), ["conv1"], ["conv3_1"], 32) == dict(
        conv1="conv3_1"
    )
    assert paired_maps.pair(
        small_vgg16(), student, ["conv2", "pool5"], ["conv1", "conv5"], 32
    ) == dict(conv2_2="conv1", pool5="conv5")


@pytest.mark.parametrize(
    "ours, theirs, size, message",
    [
        (
            ["conv4", "conv9"],
            ["conv4", "conv5"],
            32,
            "--student_endpoints=conv4,conv9: the student has no conv9; there are conv1, .*conv5",
        ),
        (
            ["conv4"],
            ["conv4_4"],
            32,
            "--teacher_endpoints=conv4_4: the teacher has no conv4_4; there are conv1_1, .*pool5",
        ),
        (
            ["conv4", "conv4"],
            ["conv4", "conv5"],
            32,
            "--student_endpoints=conv4,conv4: names a layer twice",
        ),
    ],
)
def test_layers_that_cannot_be_paired_are_refused(small_alexnet, ours, theirs, size, message):
    with pytest.raises(InputError, match=message):
        paired_maps.pair(small_alexnet(), small_vgg16(), ours, theirs, size)


def test_vectors_and_images_too_small_are_refused(small_alexnet):
    with_fc = AlexNet(width_multiplier=0.1, fc_units=(8, 8), image_size=67)
    with pytest.raises(InputError, match="fc6 of the student is a vector"):
        paired_maps.pair(with_fc, small_alexnet(), ["fc6"], ["conv5"], 67)
    full_size = AlexNet(width_multiplier=0.1, fc_units=())
    for size in (8, 10):
        with pytest.raises(
            InputError, match=f"--image_size={size}: .* the teacher, alexnet; use larger images"
        ):
            paired_maps.pair(small_alexnet(), full_size, ["conv5"], ["conv5"], size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparisonSettings(TaskSettings, paired_maps.PairedMapsSettings):
    """--task=comparison."""


class Comparison(paired_maps.PairedMapsTask):
    """Only compares."""

    Settings = ComparisonSettings
    dataset = build_model = loss = None


def test_the_teachers_layers_are_the_students_unless_given_and_are_recorded(
    image_dir, alexnet_teacher, small_alexnet
):
    given = dict(data_dir=str(image_dir), image_size=32, teacher_backbone=str(alexnet_teacher))
    task = Comparison(**given, student_endpoints=("conv4", "conv5"))
    assert task.settings.teacher_endpoints == ("conv4", "conv5")
    assert task.resolved(small_alexnet()) == (task.settings,)
    assert task.pairs(small_alexnet(), task.load_teacher()) == dict(conv4="conv4", conv5="conv5")
    other = Comparison(**given, student_endpoints=("conv3",), teacher_endpoints=("conv5",))
    assert other.settings.teacher_endpoints == ("conv5",)


@pytest.mark.parametrize(
    "ours, theirs, message",
    [
        (("conv4", "conv5"), ("conv5_1",), "^--student_endpoints has 2 layers, .* 1; give as many"),
        ((), None, "^--student_endpoints: names no layer"),
    ],
)
def test_endpoints_that_can_never_be_paired_are_refused(ours, theirs, message):
    with pytest.raises(FlagError, match=message):
        paired_maps.PairedMapsSettings(
            teacher_backbone="teacher", student_endpoints=ours, teacher_endpoints=theirs
        )

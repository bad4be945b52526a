"""Which map of the student is compared with which of the teacher, and how two maps are brought to
one size.
"""

import functools

import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf.runs.errors import FlagError, InputError

_STUDENT = flags.DEFINE_list(
    "student_endpoints",
    None,
    "Layers of the student compared with the teacher's: endpoints, or stages, which stand for "
    "their last convolution (conv4: conv4_3 in "
    "VGG16). None: conv4,conv5 for feature_regression (the paper's), conv3,conv4,conv5 for "
    "attention_transfer.",
)
_TEACHER = flags.DEFINE_list(
    "teacher_endpoints",
    None,
    "Layers of the teacher, in the same order; none: those of --student_endpoints.",
)


def endpoints_from_flags(default: list[str]) -> tuple[list[str], list[str]]:
    """Returns the layers of student and teacher; `default` where none are given. They are recorded
    with the run.
    """
    if not _STUDENT.value:
        flags.FLAGS.student_endpoints = default
    if not _TEACHER.value:
        flags.FLAGS.teacher_endpoints = list(_STUDENT.value)
    if len(_STUDENT.value) != len(_TEACHER.value):
        raise FlagError(
            f"--student_endpoints has {len(_STUDENT.value)} layers, --teacher_endpoints "
            f"{len(_TEACHER.value)}; give as many"
        )
    return list(_STUDENT.value), list(_TEACHER.value)


def pair(student, teacher, student_endpoints, teacher_endpoints, image_size: int) -> dict[str, str]:
    """Returns {endpoint of the student: endpoint of the teacher}.

    Args:
      student, teacher: backbones.
      student_endpoints, teacher_endpoints: endpoints or stages, as many of one as of the other.
      image_size: S, pixels, of the images both are shown.

    Raises:
      InputError: a network has no such layer, it is no map, images of this size leave nothing of
        it, or a layer is named twice.
    """
    ours = _maps(student, student_endpoints, image_size, "student")
    theirs = _maps(teacher, teacher_endpoints, image_size, "teacher")
    if len(set(ours)) != len(ours):
        raise InputError(f"--student_endpoints={','.join(student_endpoints)}: names a layer twice")
    return dict(zip(ours, theirs, strict=True))


def _maps(network, names, image_size, who):
    flag, found = f"--{who}_endpoints={','.join(names)}", []
    for name in names:
        of_stage = [
            endpoint for endpoint in network.endpoint_names if endpoint.split("_")[0] == name
        ]
        if name not in network.endpoint_names and not of_stage:
            raise InputError(
                f"{flag}: the {who} has no {name}; there are {', '.join(network.endpoint_names)}"
            )
        found.append(name if name in network.endpoint_names else of_stage[-1])
    try:
        shapes = network.compute_output_shape([1, image_size, image_size, 3])
    except ValueError as error:
        raise InputError(
            f"--image_size={image_size}: too small for the {who}, {network.name}; use larger images"
        ) from error
    for name in found:
        if len(shapes[name]) != 4:
            raise InputError(f"{flag}: {name} of the {who} is a vector; only maps are compared")
        if min(shapes[name][1:3]) < 1:
            raise InputError(
                f"--image_size={image_size}: leaves nothing of {name} of the {who}, "
                f"{network.name}; use larger images"
            )
    return found


@functools.cache
def bilinear_matrix(size: int, target: int) -> np.ndarray:
    """Returns [target, size] float32: row i interpolates a line of `size` at the centre of the i-th
    of `target` equal parts.

    As `tf.image.resize(method="bilinear", antialias=False)`: two neighbours each, lines continued
    by their ends.
    """
    place = np.clip((np.arange(target) + 0.5) * size / target - 0.5, 0, size - 1)
    left = np.minimum(np.floor(place).astype(int), max(size - 2, 0))
    matrix = np.zeros([target, size], np.float32)
    matrix[np.arange(target), left] += 1 - (place - left)
    matrix[np.arange(target), np.minimum(left + 1, size - 1)] += place - left
    return matrix


def resize(maps, height: int, width: int):
    """Resizes [B, h, w, C] float32 bilinearly to [B, height, width, C].

    By matrix products: their gradient is the same on every run and device.
    """
    if maps.shape[1] != height:
        maps = tf.einsum("hy,byxc->bhxc", bilinear_matrix(maps.shape[1], height), maps)
    if maps.shape[2] != width:
        maps = tf.einsum("wx,byxc->bywc", bilinear_matrix(maps.shape[2], width), maps)
    return maps


def to_one_size(ours, theirs):
    """Returns both maps [B, h, w, C], [B, h', w', C'] as float32 at the smaller height and width
    (the larger is resized: experiments/PROTOCOLS.md, "Distillation").
    """
    height, width = (min(ours.shape[axis], theirs.shape[axis]) for axis in (1, 2))
    return tuple(resize(tf.cast(maps, tf.float32), height, width) for maps in (ours, theirs))

"""Which map of the student is compared with which of the teacher, and how two maps are brought to
one size.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from ccssl_tf.knowledge_transfer import teacher
from ccssl_tf.knowledge_transfer.teacher import TaughtTask, TeacherSettings
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.settings import setting

STUDENT_ENDPOINTS_HELP = (
    "Layers of the student compared with the teacher's: endpoints, or stages, which stand for "
    "their last convolution (conv4: conv4_3 in VGG16)."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairedMapsSettings(TeacherSettings):
    """Which layers are compared; a subclass gives --student_endpoints its task's default."""

    student_endpoints: tuple[str, ...] = setting(help=STUDENT_ENDPOINTS_HELP)
    teacher_endpoints: tuple[str, ...] | None = setting(
        None,
        "Layers of the teacher, in the same order.",
        automatic="those of --student_endpoints",
    )

    def check(self):
        """As many layers of one as of the other."""
        super().check()
        if not self.student_endpoints:
            raise FlagError("--student_endpoints: names no layer")
        if self.teacher_endpoints and len(self.student_endpoints) != len(self.teacher_endpoints):
            raise FlagError(
                f"--student_endpoints has {len(self.student_endpoints)} layers, "
                f"--teacher_endpoints {len(self.teacher_endpoints)}; give as many"
            )


class PairedMapsTask(TaughtTask):
    """A task that compares maps of the student with those of a teacher; settings include
    `PairedMapsSettings`.

    Attributes:
      compared_size: pixels a side of the images that both networks are shown.
    """

    def __init__(self, settings=None, **fields):
        """Takes the settings or their fields."""
        super().__init__(settings, **fields)
        if not self.settings.teacher_endpoints:
            same = self.settings.student_endpoints
            self.settings = dataclasses.replace(self.settings, teacher_endpoints=same)
        self.compared_size = self.settings.image_size

    def load_teacher(self):
        """The convolutions of the network in --teacher_backbone."""
        return teacher.load_convolutions(self.settings.teacher_backbone)

    def pairs(self, student, network) -> dict[str, str]:
        """Returns {endpoint of the student: endpoint of its teacher `network`}; see `pair`."""
        settings = self.settings
        endpoints = settings.student_endpoints, settings.teacher_endpoints
        return pair(student, network, *endpoints, self.compared_size)


def pair(student, network, student_endpoints, teacher_endpoints, image_size: int) -> dict[str, str]:
    """Returns {endpoint of the student: endpoint of the teacher}.

    Args:
      student: a backbone.
      network: the teacher, a backbone.
      student_endpoints, teacher_endpoints: endpoints or stages, as many of one as of the other.
      image_size: S, pixels, of the images both are shown.

    Raises:
      InputError: a network has no such layer, it is no map, images of this size leave nothing of
        it, or a layer is named twice.
    """
    ours = _maps(student, student_endpoints, image_size, "student")
    theirs = _maps(network, teacher_endpoints, image_size, "teacher")
    if len(set(ours)) != len(ours):
        raise InputError(f"--student_endpoints={','.join(student_endpoints)}: names a layer twice")
    return dict(zip(ours, theirs, strict=True))


def _maps(network, names, image_size, who):
    flag, endpoints = f"--{who}_endpoints={','.join(names)}", []
    for name in names:
        of_stage = [
            endpoint for endpoint in network.endpoint_names if endpoint.split("_")[0] == name
        ]
        if name not in network.endpoint_names and not of_stage:
            raise InputError(
                f"{flag}: the {who} has no {name}; there are {', '.join(network.endpoint_names)}"
            )
        endpoints.append(name if name in network.endpoint_names else of_stage[-1])
    try:
        shapes = network.compute_output_shape([1, image_size, image_size, 3])
    except ValueError as error:
        raise InputError(
            f"--image_size={image_size}: too small for the {who}, {network.name}; use larger images"
        ) from error
    for name in endpoints:
        if len(shapes[name]) != 4:
            raise InputError(f"{flag}: {name} of the {who} is a vector; only maps are compared")
        if min(shapes[name][1:3]) < 1:
            raise InputError(
                f"--image_size={image_size}: leaves nothing of {name} of the {who}, "
                f"{network.name}; use larger images"
            )
    return endpoints


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

"""Which step of a training had a loss that is not finite, and of which images."""

import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_list
from ccssl_tf.data.manifest import Manifest

_SHOWN = 20


class RecentLosses:
    """The losses of the steps since the last look at them, without waiting for any of them.

    >>> losses = RecentLosses()
    >>> losses.add(1, tf.constant(0.5))
    >>> losses.add(2, tf.constant(float("nan")))
    >>> losses.first_not_finite()
    2
    """

    def __init__(self):
        """Knows of none."""
        self._losses: list[tuple[int, tf.Tensor]] = []

    def add(self, step: int, loss: tf.Tensor):
        """Notes the loss (scalar) of a step that has begun."""
        self._losses.append((step, loss))

    def clear(self):
        """Forgets those so far: they were finite."""
        self._losses.clear()

    def first_not_finite(self) -> int | None:
        """Returns the first step whose loss is not finite, or None; waits for the steps."""
        return next((step for step, loss in self._losses if not np.isfinite(float(loss))), None)


def images_of(batch: dict[str, tf.Tensor], data_dir, split: str) -> str:
    """Returns the first images of a batch in words, by name, and how many there are.

    Args:
      batch: of a task, with `index` [B].
      data_dir: of the images.
      split: they are of.
    """
    indices = batch["index"].numpy().tolist()
    try:
        count = Manifest.read(data_dir, "images").num_examples(split)
        names = image_list.filenames(data_dir, split, count)
        texts = [image_list.text_of(names[index]) for index in indices[:_SHOWN]]
    except FileNotFoundError:  # Converted by an older version.
        texts = [f"image/index {index}" for index in indices[:_SHOWN]]
    more = f" and {len(indices) - _SHOWN} more" if len(indices) > _SHOWN else ""
    return f"the images {', '.join(texts)}{more}"

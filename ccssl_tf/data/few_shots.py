"""Few images of every class: which ones."""

from collections.abc import Sequence

import numpy as np

from ccssl_tf.runs.errors import InputError

_SHOWN = 10


def of_every_class(
    labels: np.ndarray, class_names: Sequence[str], rank: np.ndarray, count: int, flag: str
) -> np.ndarray:
    """Returns the positions, ascending, of the `count` images of every class that rank first, so
    that fewer images are part of more.

    Args:
      labels: [N] int, in [0, number of classes).
      class_names: of the labels.
      rank: [N] int, different ones.
      count: images of a class.
      flag: the one that asks for them, for the message.

    Raises:
      InputError: a class has fewer images.

    >>> of_every_class(np.array([0, 1, 0, 1]), ["a", "b"], np.array([3, 2, 1, 0]), 1, "--shots=1")
    array([2, 3])
    """
    sizes = np.bincount(labels, minlength=len(class_names))
    few = [f"{class_names[n]} ({sizes[n]})" for n in map(int, np.flatnonzero(sizes < count))]
    if few:
        more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
        raise InputError(
            f"{flag}: fewer training images of {', '.join(few[:_SHOWN])}{more}; use a smaller "
            "number"
        )
    order = np.lexsort((rank, labels))
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[place < count])

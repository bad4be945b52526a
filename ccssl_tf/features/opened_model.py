"""A network of someone else's, whatever it was opened from, as one function from pixels to rows."""

import dataclasses
import os
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from ccssl_tf.models.outputs import shortened
from ccssl_tf.runs.errors import InputError


@dataclasses.dataclass
class OpenedModel:
    """A network of someone else's.

    Attributes:
      kind: "saved_model", "keras", "keras.applications" or "keras_hub".
      call: maps images [n, H, W, 3] float32, as the network takes them, to [n, ...].
      output: the name of what `call` returns.
      image_size: pixels a side of the images it takes; None where it takes any.
      usual_size: pixels a side its weights were made for, where that is known.
      normalize: maps RGB in [0, 255] to what `call` takes; None where only the user knows.
      digest: SHA-256 (hex) of what defines it.
      files: flag -> path of what it was read from.
    """

    kind: str
    call: Callable[[tf.Tensor], tf.Tensor]
    output: str
    digest: str
    image_size: int | None = None
    usual_size: int | None = None
    normalize: Callable[[tf.Tensor], tf.Tensor] | None = None
    files: dict[str, str] = dataclasses.field(default_factory=dict)


def inference(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `network` as a function in inference mode."""
    return lambda images: network(images, training=False)


def only_output(names: Sequence[str], model: str | os.PathLike) -> str:
    """Returns the one name there is; raises InputError, which says what there is, for several."""
    if len(names) != 1:
        raise InputError(
            f"--model={model}: has several outputs; choose one: --output={shortened(names)}"
        )
    return names[0]

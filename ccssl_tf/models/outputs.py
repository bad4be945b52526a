"""A part of a Keras model, by the name of the output or layer that it ends with."""

from collections.abc import Iterable

import keras

from ccssl_tf.runs.errors import InputError


def network_until(model: keras.Model, name: str, flag: str) -> keras.Model:
    """Returns the part of a Functional model that ends with an output or a layer of that name.

    Args:
      model: with one input.
      name: a key of its outputs, or a layer.
      flag: the flag that gave the name.

    Raises:
      InputError: it has neither; the message says what it has.
    """
    outputs = (
        dict(model.output)
        if isinstance(model.output, dict)
        else dict(zip(model.output_names, model.outputs, strict=True))
    )
    layers = [layer.name for layer in model.layers]
    if name not in outputs and name not in layers:
        raise InputError(
            f"--{flag}={name}: this network has {shortened(outputs)}, and the layers "
            f"{shortened(layers)}"
        )
    return keras.Model(
        model.inputs[0], outputs[name] if name in outputs else model.get_layer(name).output
    )


def shortened(names: Iterable[str], max_names: int = 12) -> str:
    """Returns names as text, those in the middle of a long list left out."""
    names = list(names)
    if len(names) > max_names:
        half = max_names // 2
        names = [*names[:half], f"... {len(names) - max_names} more ...", *names[-half:]]
    return ", ".join(names)

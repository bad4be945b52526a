"""The same network of Keras's own layers alone: its file loads where this project is not."""

import collections

import keras
import numpy as np

from ccssl_tf.layers import (
    GroupedConv2D,
    LabConv2D,
    LocalResponseNormalization,
    PerExampleDropout,
)
from ccssl_tf.models.dissolving import dissolve
from ccssl_tf.runs.errors import InputError

# Of our layers, those that one of Keras's replaces.
_LIKE_KERAS = (GroupedConv2D, LabConv2D, PerExampleDropout)


def plain_network(model: keras.Model, name: str = "network") -> keras.Model:
    """Returns the same function as `model` in inference, of Keras's own layers and operations.

    Models inside it are dissolved into their layers, which keep names, weights and data types; it
    can be trained. Of our layers, a convolution in groups becomes a Conv2D of each, joined by a
    Concatenate of its name (Keras's own groups are slow on CPUs and need XLA), dropout Dropout, and
    what has no weights the operations of `keras.ops` that it is made of.

    Args:
      model: Functional, with one input of known size.
      name: of the new model.

    Raises:
      InputError: a layer in it cannot be had like that; the message names it.

    >>> from ccssl_tf import AlexNet
    >>> network = plain_network(AlexNet(width_multiplier=0.1, fc_units=(8, 8), image_size=67))
    >>> [layer.name for layer in network.layers if "conv2" in layer.name]
    ['conv2_group1', 'conv2_group2', 'conv2', 'conv2_relu']
    """
    # A layer that is called twice is one layer.
    made: dict[int, keras.layers.Layer] = {}

    def call(layer, *arguments, **options):
        if isinstance(layer, LocalResponseNormalization):
            return layer.in_keras_operations(*arguments)
        if isinstance(layer, GroupedConv2D) and layer.groups > 1:
            return _in_groups(layer, *arguments)
        if not (_is_keras_own(layer) or isinstance(layer, _LIKE_KERAS) or layer.weights):
            return layer.call(*arguments)
        if id(layer) not in made:
            made[id(layer)] = _copy(layer)
        own = made[id(layer)]
        outputs = own(*arguments, **options)
        if isinstance(layer, keras.layers.Layer):
            own.set_weights(layer.get_weights())
        return outputs

    images = keras.Input(model.inputs[0].shape[1:], name=model.inputs[0].name)
    outputs = dissolve(model, images, call)
    _number_operations(outputs)
    return keras.Model(images, outputs, name=name)


def _is_keras_own(layer):
    return type(layer).__module__.split(".")[0] == "keras"


def _copy(layer):
    """Returns a new layer or operation of Keras's own that does the same."""
    if isinstance(layer, GroupedConv2D | LabConv2D):
        return keras.layers.Conv2D.from_config(layer.get_config())
    if isinstance(layer, PerExampleDropout):
        shape = (None, *[1] * (len(layer.input.shape) - 1)) if layer.drops_rows else None
        return keras.layers.Dropout(layer.rate, noise_shape=shape, name=layer.name)
    if not _is_keras_own(layer):
        raise InputError(
            f"{layer.name}: a {type(layer).__name__} cannot be made of Keras's own layers; export "
            "this network as --format=saved_model"
        )
    # Over replicas TensorFlow alone can take statistics together.
    is_normalization = isinstance(layer, keras.layers.BatchNormalization)
    alone = dict(synchronized=False) if is_normalization else {}
    return type(layer).from_config(layer.get_config() | alone)


def _in_groups(layer, inputs):
    """Calls a convolution in groups as one of each group."""
    outputs, parts = [], keras.ops.split(inputs, layer.groups, axis=-1)
    config = layer.get_config() | dict(filters=layer.filters // layer.groups, groups=1)
    weights = (np.split(weight, layer.groups, axis=-1) for weight in layer.get_weights())
    for number, (part, *of_group) in enumerate(zip(parts, *weights, strict=True), 1):
        own = keras.layers.Conv2D.from_config(config | dict(name=f"{layer.name}_group{number}"))
        outputs.append(own(part))
        own.set_weights(of_group)
    return keras.layers.Concatenate(name=layer.name)(outputs)


def _number_operations(outputs):
    """Names every operation that is not a layer by its kind and place, e.g. pad_2.

    Keras's own names are numbered by what the process made before, and may be those of layers.
    """
    pending = keras.tree.flatten(outputs)
    operations = {}
    while pending:
        operation = pending.pop()._keras_history.operation
        if id(operation) not in operations:
            operations[id(operation)] = operation
            pending += keras.tree.flatten(operation.input)
    numbers: collections.Counter[str] = collections.Counter()
    for operation in reversed(operations.values()):
        if not isinstance(operation, keras.layers.Layer):
            kind = type(operation).__name__.lower()
            numbers[kind] += 1
            operation.name = f"operation_{kind}_{numbers[kind]}"

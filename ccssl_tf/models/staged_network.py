"""Backbones made from somebody else's Functional model.

Its stages are the endpoints conv1, conv2, ...

A stage ends, at each resolution, with the last layer that everything after it reads from (the end
of a residual block, an expanded map before the next stride), pools and padding left out. Two things
differ from what was built there, so that a training obeys the rules all backbones here obey: batch
normalisation has the momentum of our own networks and sees the whole global batch (the usual 0.99
to 0.999 would make a run of some hundred steps evaluate with its first statistics), and dropout, of
units or of whole residual branches, follows each example's seed.
"""

import contextlib
import math

import keras

from ccssl_tf.layers import PerExampleDropout
from ccssl_tf.models import backbone as lib
from ccssl_tf.models.backbone import Backbone
from ccssl_tf.ops import color
from ccssl_tf.runs.errors import InputError

_BETWEEN_STAGES = (
    keras.layers.ZeroPadding2D,
    keras.layers.Cropping2D,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
)
_DROPOUT_STREAM = 1200
# What such a network sees of RGB images, before its own preprocessing.
SEEN = dict(rgb="RGB", gray="2.55 L of Lab in all three channels")


class StagedNetwork(Backbone):
    """A copy of the stages of a Functional model, with random weights."""

    def __init__(self, stages, *, side, name, colors, avg_pool, override=lambda layer: {}):
        """Copies the layers.

        Args:
          stages: a Functional model from images [B, H, W, 3] to {conv1: [B, h, w, C], ...} (see
            `stages_of`).
          side: pixels a side of the images it takes; None for any.
          name: of the backbone.
          colors: a key of SEEN.
          avg_pool: adds the endpoint `avg_pool` [B, C], the mean over the last map, for
            classifiers.
          override: layer -> what of its configuration is to be otherwise in the copy.
        """
        images = keras.Input([side, side, 3], name="images")
        endpoints = dict(
            keras.models.clone_model(
                stages, input_tensors=images, clone_function=_cloning(stages, override)
            ).output
        )
        # Under PyTorch Keras sorts the keys of `output`.
        endpoints = {
            f"conv{number}": endpoints[f"conv{number}"] for number in range(1, 1 + len(endpoints))
        }
        if avg_pool:
            endpoints["avg_pool"] = keras.layers.GlobalAveragePooling2D(name="avg_pool")(
                endpoints[f"conv{len(endpoints)}"]
            )
        super().__init__(inputs=images, outputs=endpoints, name=name, colors=colors)

    def check_size(self, size: int):
        """Raises InputError where images of `size` pixels a side cannot be taken.

        A map of theirs would vanish, or the network has another size.
        """
        try:
            with self._naming_the_size(size):
                self.compute_output_shape((1, size, size, 3))
        except (ValueError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            reason = next(
                (line.strip() for line in str(error).splitlines() if line.strip()),
                type(error).__name__,
            )[:200]
            raise InputError(
                f"{self.name}: cannot take images of {size} pixels ({reason})"
            ) from error

    def __call__(self, images, *arguments, **options):
        """As any network's; InputError where it does not take images of this size."""
        with self._naming_the_size(images.shape[1]):
            return super().__call__(images, *arguments, **options)

    @contextlib.contextmanager
    def _naming_the_size(self, size):
        side = self.input.shape[1]
        if side and size != side:
            raise InputError(
                f"{self.name}: takes images of {side} pixels, not {size}; give --image_size={side} "
                "and a task without tiles"
            )
        try:
            yield
        except ValueError as error:
            if "negative" not in str(error).lower():
                raise
            raise InputError(
                f"{self.name}: images of {size} pixels are too small for it; use a larger "
                "--image_size"
            ) from error

    def seen(self, images):
        """Maps RGB images in [0, 255] to what the network sees of them, in the same range.

        See SEEN.
        """
        return (
            images
            if self.colors == "rgb"
            else keras.ops.repeat(2.55 * color.rgb_to_lab(images)[..., :1], 3, axis=-1)
        )

    def transferred_layers(self, keep_fc: bool = False) -> list:
        """Returns all layers with weights: there is nothing else than the convolutional part."""
        return [layer for layer in self.layers if layer.weights]

    def weight_shapes(self) -> dict:
        """Returns the part of `architecture` that every such network has.

        That is the shape of every weight, and whether any are normalised.
        """
        shapes = {
            layer.name: [list(weight.shape) for weight in layer.weights]
            for layer in self.transferred_layers()
        }
        normalized = any(
            isinstance(layer, keras.layers.BatchNormalization) for layer in self.layers
        )
        return dict(kernels=shapes, **(dict(normalization="batch_norm") if normalized else {}))


def check_colors(name: str, colors: str):
    """Raises InputError unless `colors` is a key of SEEN."""
    if colors == "lab_halves":
        raise InputError(
            f"{name}: cannot be split into two halves by colour; alexnet and vgg16 can"
        )
    lib.check_choice("colors", colors, tuple(SEEN))


def stages_of(network, name: str) -> keras.Model:
    """Returns a Functional model's part up to its last stage, with outputs conv1, conv2, ...

    Its input size is fixed.

    Raises:
      InputError: it has no stage; the message calls it `name`.
    """
    ends = _stage_ends(network)
    if not ends:
        raise InputError(f"{name}: has no convolutional maps [B, h, w, C] to take features from")
    return keras.Model(
        network.input,
        {f"conv{number}": op.output for number, op in enumerate(ends, 1)},
        name="stages",
    )


def _stage_ends(network) -> list:
    """Returns the operation at the end of each stage.

    It is the last of its resolution that all later ones read from.
    """
    operations = [op for op in network.operations if not isinstance(op, keras.layers.InputLayer)]
    place = {id(op.output): number for number, op in enumerate(operations)}
    last_reader = [0] * len(operations)
    for number, op in enumerate(operations):
        for tensor in op.input if isinstance(op.input, list | tuple) else [op.input]:
            if id(tensor) in place:
                last_reader[place[id(tensor)]] = number
    stages, learning, reach, side = {}, set(), 0, network.input.shape[1]
    for number, op in enumerate(operations):
        is_passed_by_all, reach = reach <= number, max(reach, last_reader[number])
        shape = op.output.shape
        if len(shape) == 4 and shape[1] > 1 and not isinstance(op, _BETWEEN_STAGES):
            resolution = round(math.log2(side / shape[1]))
            # Input scaling has weights too, but none that learn; and what is dropped from a pooled
            # map is no stage.
            if getattr(op, "trainable_weights", ()):
                learning.add(resolution)
            if resolution not in learning:
                continue
            stage = stages.setdefault(resolution, {})
            # NASNet's cells read the last two cells: there is nothing all pass by, and a cell ends
            # where its branches are joined.
            joins = isinstance(op.input, list | tuple)
            stage["bottleneck" if is_passed_by_all else "joint" if joins else "other"] = op
    return [
        next(stage[kind] for kind in ("bottleneck", "joint", "other") if kind in stage)
        for _, stage in sorted(stages.items())
    ]


def _cloning(template, override):
    """Returns what makes our copy of one layer of `template`."""
    dropouts = [layer for layer in template.layers if isinstance(layer, keras.layers.Dropout)]

    def clone(layer):
        if isinstance(layer, keras.Sequential):
            return keras.Sequential([clone(inner) for inner in layer.layers], name=layer.name)
        if not isinstance(layer, keras.layers.Layer):
            return type(layer).from_config(layer.get_config())
        # Of the precision that was asked for here.
        config = layer.get_config() | dict(dtype=keras.config.dtype_policy()) | override(layer)
        if type(layer) is keras.layers.Dropout and (
            layer.noise_shape is None or set(layer.noise_shape[1:]) == {1}
        ):
            stream, whole = _DROPOUT_STREAM + dropouts.index(layer), layer.noise_shape is not None
            return PerExampleDropout(
                layer.rate, stream, drops_rows=whole, name=config["name"], dtype=config["dtype"]
            )
        if isinstance(layer, keras.layers.BatchNormalization):
            config |= dict(
                momentum=lib.BATCH_NORM_MOMENTUM,
                synchronized=keras.backend.backend() == "tensorflow",
            )
        return type(layer).from_config(config)

    return clone

"""Any Keras model as a backbone: `--init_backbone=net.keras --input_range=0,1`.

It is the convolutional part of somebody else's `.keras` file.

Everything up to the last map is kept, for images of any size where the layers allow that;
classifiers on vectors behind it, layers that augment images in training, and models called as one
layer inside the model are left out or dissolved into their layers. Weights and architecture travel
in our own `backbone.keras`, which needs neither the file nor its flags.
"""

import copy
import dataclasses
import functools
import json
import pathlib
import re

import keras
import numpy as np

from ccssl_tf.models import backbone as lib
from ccssl_tf.models import backbone_file
from ccssl_tf.models.dissolving import dissolve
from ccssl_tf.models.input_convention import HOW_TO_SAY, InputConvention, image_side
from ccssl_tf.models.staged_network import SEEN, StagedNetwork, check_colors, stages_of
from ccssl_tf.runs.damage import told_as_damage
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import file_sha256, fingerprint_of

# The size, in pixels, at which strides are measured in a model for images of any size.
_MEASURED_SIZE = 512


@keras.saving.register_keras_serializable(package="ccssl_tf")
class KerasNetwork(StagedNetwork):
    """The convolutional part of a Keras model, for images of any size or of its own."""

    def __init__(self, *, stages, convention, avg_pool=False, colors="rgb", name="keras"):
        """Builds the network with random weights.

        Args:
          stages: a JSON object, Keras's configuration of a Functional model from images to {conv1:
            map, conv2: map, ...}.
          convention: the fields of an `InputConvention`, as a JSON object.
          avg_pool: adds the endpoint `avg_pool` [B, C], the mean over the last map, which
            classifiers read.
          colors: "rgb" or "gray" (lightness in all three channels, before `convention`).
          name: model name.

        Raises:
          InputError: it cannot be had in these colours.
        """
        check_colors(name, colors)
        self._arguments = dict(
            stages=stages, convention=convention, avg_pool=avg_pool, colors=colors
        )
        self._convention = InputConvention(**convention)
        # Keras takes apart what it is given.
        template = keras.saving.deserialize_keras_object(copy.deepcopy(stages), safe_mode=True)
        super().__init__(
            template, side=template.input.shape[1], name=name, colors=colors, avg_pool=avg_pool
        )

    def get_config(self):
        """The constructor's arguments."""
        return dict(self._arguments, name=self.name)

    @classmethod
    def from_settings(
        cls,
        settings: lib.BackboneSettings,
        *,
        config: dict,
        image_size: int,
        with_fc: bool = False,
        colors: str | None = None,
    ) -> "KerasNetwork":
        """Builds the network of that configuration for images of `image_size` pixels.

        `with_fc` adds avg_pool.
        """
        backbone = cls(**{**config, "avg_pool": with_fc, "colors": colors or config["colors"]})
        backbone.check_size(image_size)
        return backbone

    def normalize(self, images):
        """Maps RGB images in [0, 255] of any dtype to the float32 the network takes."""
        return self._convention(self.seen(images))

    def input_convention(self) -> dict:
        """What `backbone.json` says of the input."""
        return dict(
            channels="RGB",
            range=[0, 255],
            seen=SEEN[self.colors],
            as_the_network_takes_it=dict(self._arguments["convention"]),
        )

    def architecture(self) -> dict:
        """Returns what must agree for weights to be copied.

        That is the convention, the shape of every weight and a digest of all layers.
        """
        arguments = self._arguments
        told = dict(input=arguments["convention"], layers=fingerprint_of(arguments["stages"]))
        return dict(type=type(self).__name__, **self.weight_shapes(), **told)


def load_network(path, convention: InputConvention | None) -> lib.Backbone:
    """Loads a backbone of ours, or makes one of somebody else's `.keras` file.

    Args:
      path: a `.keras` file, or a work directory with a `backbone.keras`.
      convention: what somebody else's network takes for a pixel; ours know it themselves.

    Raises:
      InputError: no such file, a file with a program in it, a model without maps of RGB images, or
        the convention is missing.
      CorruptArtifactError: the file is damaged.
    """
    return backbone_file.load_backbone(path, adopt=functools.partial(adopt, convention=convention))


def adopt(model: keras.Model, path, convention: InputConvention | None) -> KerasNetwork:
    """Returns the convolutional part of `model`, with its weights.

    Args:
      model: a Functional or Sequential model with one input, square RGB images.
      path: of its file, for messages and the name.
      convention: what it takes for a pixel.

    Raises:
      InputError: the convention is missing, or the model is not like that; the message says what it
        is.
    """
    layers = model.layers if isinstance(model, keras.Model) else ()
    if any(isinstance(part, lib.Backbone) for part in layers):
        raise InputError(
            f"{path}: holds a classifier of this project; name the backbone.keras beside it"
        )
    if convention is None:
        raise InputError(
            f"{path}: holds a {type(model).__name__} that is none of this project's; {HOW_TO_SAY}"
        )
    if len(getattr(model, "inputs", None) or ()) != 1:
        raise InputError(
            f"{path}: a {type(model).__name__} whose layers cannot be read; a Functional or "
            "Sequential one with one input is needed"
        )
    side = image_side(str(path), tuple(model.inputs[0].shape))
    what = "its layers cannot be rebuilt as a backbone"
    with told_as_damage(path, what, "export it as a SavedModel", InputError):
        flat = _dissolved(model, side or _MEASURED_SIZE)
        stages = stages_of(_copied(flat), str(path))
        stages = _for_any_size(stages) or stages
        name = re.sub("[^A-Za-z0-9]+", "_", pathlib.Path(path).stem).strip("_") or "keras"
        config = dict(stages=json.loads(json.dumps(keras.saving.serialize_keras_object(stages))))
        config["convention"] = json.loads(json.dumps(dataclasses.asdict(convention)))
        network = KerasNetwork(**config, name=name)
        for layer in network.transferred_layers():
            layer.set_weights(flat.get_layer(layer.name).get_weights())
    network.weights_from = dict(file=str(path), sha256=file_sha256(path), importer="keras")
    return network


def _dissolved(model, side) -> keras.Model:
    """Calls the layers of `model`, and those of models among them, on new images.

    Layers that augment images are left out.
    """

    def call(layer, *arguments, **options):
        if type(layer).__name__.startswith("Random") and type(layer) is getattr(
            keras.layers, type(layer).__name__, None
        ):
            return arguments[0]
        return layer(*arguments, **options)

    images = keras.Input([side, side, 3], name="images")
    return keras.Model(images, dissolve(model, images, call))


def _copied(network) -> keras.Model:
    """Returns a model of new layers: those of `network` are part of other models, too.

    Scaling learned from data becomes a constant.
    """

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            mean, variance, *_ = (np.reshape(weight, -1).tolist() for weight in layer.get_weights())
            config |= dict(mean=mean, variance=variance)
        new = type(layer).from_config(config)
        if isinstance(new, keras.layers.Layer):
            # A frozen layer is still part of a stage, and here the task says what learns.
            new.trainable = True
        return new

    return keras.models.clone_model(network, clone_function=clone)


def _for_any_size(stages) -> keras.Model | None:
    """Returns the same layers on images of any size; None where they need their own."""
    side = stages.input.shape[1]
    try:
        free = keras.models.clone_model(
            stages, input_tensors=keras.Input([None, None, 3], name="images")
        )
        # What a layer such as Reshape cannot take shows where the size is known.
        free.compute_output_shape((1, 2 * side, 2 * side, 3))
    except (ValueError, TypeError):
        return None
    return free

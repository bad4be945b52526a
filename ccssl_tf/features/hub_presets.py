"""Networks of KerasHub, `--model=keras_hub:PRESET`, with their weights and preprocessing."""

import pathlib

import keras
import tensorflow as tf

from ccssl_tf.features.opened_model import OpenedModel, inference, only_output
from ccssl_tf.models import backbone_file
from ccssl_tf.models.hdf5_files import open_hdf5
from ccssl_tf.models.input_convention import image_side
from ccssl_tf.models.outputs import network_until, shortened
from ccssl_tf.runs.damage import reason_of, told_as_damage
from ccssl_tf.runs.errors import InputError

KERAS_HUB = "keras_hub:"


def open_preset(model: str, output: str | None, weights: str | None) -> OpenedModel:
    """Opens a preset; what its image converter says of pixels is part of it.

    Args:
      model: "keras_hub:" and the preset's name, handle or directory.
      output: name of the output wanted; None for the only one.
      weights: a file, "random", or None for the preset's own.

    Raises:
      InputError: KerasHub is not installed, or the preset cannot be opened or is of no images.
    """
    keras_hub = _keras_hub(model)
    preset = model.removeprefix(KERAS_HUB)
    if weights and weights != "random":
        open_hdf5(weights, "get it again").close()
    with told_as_damage(f"--model={model}", "cannot be opened", "name another", InputError):
        network = keras_hub.models.Backbone.from_preset(preset, load_weights=not weights)
        if weights and weights != "random":
            network.load_weights(weights)
    if len(network.inputs) != 1:
        raise InputError(
            f"--model={model}: takes {shortened(tensor.name for tensor in network.inputs)}; a "
            "network of images is needed"
        )
    output = output or only_output(
        list(network.output if isinstance(network.output, dict) else network.output_names), model
    )
    converter = _image_converter(keras_hub, preset)
    files = {} if weights in (None, "random") else dict(weights=weights)
    if pathlib.Path(preset).is_dir():
        files["model"] = preset
    return OpenedModel(
        kind="keras_hub",
        call=inference(network_until(network, output, "output")),
        output=output,
        digest=backbone_file.network_fingerprint(network.get_config(), network.weights),
        image_size=image_side(f"--model={model}", tuple(network.inputs[0].shape)),
        usual_size=converter and converter.image_size and converter.image_size[0],
        normalize=converter and _conversion(converter),
        files=files,
    )


def _keras_hub(model):
    """KerasHub; it may be absent, or of a version that this Keras does not suit."""
    try:
        import keras_hub
    except MemoryError:
        raise
    except Exception as error:  # A package that another does not suit raises anything.
        how = "pip install 'ccssl_tf[hub]'"
        if isinstance(error, ModuleNotFoundError) and error.name == "keras_hub":
            raise InputError(f"--model={model}: needs KerasHub: {how}") from error
        raise InputError(
            f"--model={model}: KerasHub cannot be imported beside Keras {keras.__version__} "
            f"({type(error).__name__}: {reason_of(error)}); {how} installs versions that suit"
        ) from error
    return keras_hub


def _image_converter(keras_hub, preset):
    """Returns KerasHub's layer that makes the network's pixels; None where the preset has none."""
    try:
        return keras_hub.layers.ImageConverter.from_preset(preset)
    except (ValueError, OSError):
        return None


def _conversion(converter):
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    return lambda images: (
        tf.cast(images, tf.float32) * tf.constant(scale, tf.float32)
        + tf.constant(offset, tf.float32)
    )

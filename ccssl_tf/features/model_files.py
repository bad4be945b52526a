"""Opens a network of someone else's by its path or name.

A `.keras` file is read in Keras's safe mode, in which it can hold no program of its own.
"""

import pathlib

import keras

from ccssl_tf.features.hub_presets import KERAS_HUB, open_preset
from ccssl_tf.features.opened_model import OpenedModel, inference, only_output
from ccssl_tf.features.saved_models import open_saved_model
from ccssl_tf.models import applications, backbone_file
from ccssl_tf.models.application_weights import import_weights
from ccssl_tf.models.backbone import Backbone
from ccssl_tf.models.input_convention import image_side
from ccssl_tf.models.outputs import network_until
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.files import file_sha256


def open_model(
    model: str,
    *,
    output: str | None,
    weights: str | None,
    trust: bool,
    width_multiplier: float | None = None,
) -> OpenedModel:
    """Opens what --model names.

    Args:
      model: a SavedModel directory, a `.keras` file, a name of keras.applications, or keras_hub:
        and a preset of KerasHub: its name there, a handle (kaggle://..., hf://...) or a directory.
      output: name of the output wanted; None for the only one, or the last map of a network of
        keras.applications.
      weights: of keras.applications: a file, "imagenet" or "random"; of KerasHub: a file, "random",
        or None for the preset's own.
      trust: whether a SavedModel, or a `.keras` file with a program in it, may be run.
      width_multiplier: of MobileNets.

    Raises:
      FlagError: weights, or a width other than 1, for a model that brings its own.
      InputError: no such model, one that may not be run, no such output, or one that does not take
        RGB images.
      CorruptArtifactError: the file is damaged.
    """
    if model.startswith(KERAS_HUB):
        _refuse(model, width_multiplier=width_multiplier)
        return open_preset(model, output, weights)
    path = pathlib.Path(model)
    is_directory = path.is_dir()
    if is_directory or (path.suffix == ".keras" and path.is_file()):
        _refuse(model, weights=weights, width_multiplier=width_multiplier)
        return (open_saved_model if is_directory else _keras_file)(path, output, trust)
    if model in applications.NETWORKS:
        return _application(model, output, weights, width_multiplier or 1.0)
    if path.is_file():
        raise InputError(
            f"--model={model}: neither a .keras file nor a SavedModel directory; save it as one of "
            "these, or run it where it is at home "
            "and bring its rows in with --features_file"
        )
    similar = ", ".join(applications.similar_names(model))
    raise InputError(
        f"--model={model}: no such file or directory, nor a network of keras.applications, such as "
        f"{similar} (case matters), "
        f"nor {KERAS_HUB}PRESET"
    )


def _refuse(model, **values):
    for name, value in values.items():
        if value not in (None, 1.0):
            raise FlagError(f"--{name}={value}: --model={model} brings its own; leave it out")


def _application(name, output, weights, width_multiplier):
    if not weights:
        raise InputError(
            f"--model={name}: say which weights: --weights=FILE.h5, imagenet (Keras downloads them "
            "once) or random"
        )
    if weights == "random":
        network = applications.Application(network=name, width_multiplier=width_multiplier)
    else:
        network = import_weights(weights, network=name, width_multiplier=width_multiplier)
    output = output or network.endpoint_names[-1]
    return OpenedModel(
        kind="keras.applications",
        call=inference(network_until(network, output, "output")),
        output=output,
        digest=backbone_file.backbone_fingerprint(network),
        usual_size=applications.published_size(name),
        normalize=network.normalize,
        files={} if weights in ("random", "imagenet") else dict(weights=weights),
    )


def _keras_file(path, output, trust):
    try:
        network = backbone_file.load_model(path, trust=trust)
    except InputError as error:
        raise InputError(
            f"--model={error}" + ("" if trust else "; --trust_model lets a Lambda run")
        ) from error
    if len(getattr(network, "inputs", None) or ()) != 1:
        raise InputError(
            f"--model={path}: a {type(network).__name__}, of which no layers can be read; export "
            "it as a SavedModel"
        )
    side = image_side(f"--model={path}", tuple(network.inputs[0].shape))
    if isinstance(network, keras.Sequential):
        network = keras.Model(network.inputs, network.outputs)
    names = list(network.output if isinstance(network.output, dict) else network.output_names)
    output = output or only_output(names, path)
    ours = [part for part in (network, *network.layers) if isinstance(part, Backbone)]
    return OpenedModel(
        kind="keras",
        call=inference(network_until(network, output, "output")),
        output=output,
        digest=file_sha256(path),
        image_size=side,
        normalize=ours[0].normalize if ours else None,
        files=dict(model=str(path)),
    )

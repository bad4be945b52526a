"""Opens networks made elsewhere: a SavedModel, a `.keras` file, or one of a library by name, as one
function from pixels to an output.

A `.keras` file is read in Keras's safe mode, in which it can hold no program of its own. A
SavedModel is a program: it may read and write files as its user may, so it is opened for those only
who say that they trust it.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable

import keras
import tensorflow as tf

from ccssl_tf.features.endpoint import network_until, shortened
from ccssl_tf.models import applications, backbone_file
from ccssl_tf.models.application_weights import import_weights
from ccssl_tf.models.backbone import Backbone
from ccssl_tf.models.input_convention import image_side
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import file_sha256

_TRUST = (
    "a SavedModel is a program, which can read and write files as you can; give --trust_model "
    "if you trust who made it"
)
_SIGNATURE = "serving_default"
KERAS_HUB = "keras_hub:"


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
    call: Callable
    output: str
    digest: str
    image_size: int | None = None
    usual_size: int | None = None
    normalize: Callable | None = None
    files: dict = dataclasses.field(default_factory=dict)


def open_model(
    model: str,
    *,
    output: str | None,
    weights: str | None,
    trust: bool,
    width_multiplier: float = 1.0,
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
      InputError: no such model, one that may not be run, no such output, or one that does not take
        RGB images.
      CorruptArtifactError: the file is damaged.
    """
    if model.startswith(KERAS_HUB):
        return _preset(model, output, weights)
    path = pathlib.Path(model)
    if path.is_dir():
        return _saved_model(path, output, trust)
    if path.suffix == ".keras" and path.is_file():
        return _keras_file(path, output, trust)
    if model in applications.NETWORKS:
        return _application(model, output, weights, width_multiplier)
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
        call=_inference(network_until(network, output, "output")),
        output=output,
        digest=backbone_file.backbone_fingerprint(network),
        usual_size=applications.published_size(name),
        normalize=network.normalize,
        files={} if weights in ("random", "imagenet") else dict(weights=weights),
    )


def _preset(model, output, weights):
    """Opens a preset of KerasHub; what its image converter says of pixels is part of it."""
    try:
        import keras_hub
    except ModuleNotFoundError as error:
        raise InputError(f"--model={model}: needs KerasHub: pip install 'ccssl_tf[hub]'") from error
    preset = model.removeprefix(KERAS_HUB)
    try:
        network = keras_hub.models.Backbone.from_preset(preset, load_weights=not weights)
        if weights and weights != "random":
            network.load_weights(weights)
    except backbone_file.LOADING_ERRORS as error:
        raise InputError(f"--model={model}: cannot be opened ({_first_line(error)})") from error
    if len(network.inputs) != 1:
        raise InputError(
            f"--model={model}: takes {shortened(tensor.name for tensor in network.inputs)}; a "
            "network of images is needed"
        )
    output = output or _only(
        list(network.output if isinstance(network.output, dict) else network.output_names), model
    )
    converter = _image_converter(keras_hub, preset)
    files = {} if weights in (None, "random") else dict(weights=weights)
    if pathlib.Path(preset).is_dir():
        files["model"] = preset
    return OpenedModel(
        kind="keras_hub",
        call=_inference(network_until(network, output, "output")),
        output=output,
        digest=backbone_file.network_fingerprint(network.get_config(), network.weights),
        image_size=image_side(f"--model={model}", tuple(network.inputs[0].shape)),
        usual_size=converter and converter.image_size and converter.image_size[0],
        normalize=converter and _conversion(converter),
        files=files,
    )


def _image_converter(keras_hub, preset):
    """Returns KerasHub's layer that knows what the network takes for a pixel, None where the preset
    has none.
    """
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
    output = output or _only(names, path)
    ours = [part for part in (network, *network.layers) if isinstance(part, Backbone)]
    return OpenedModel(
        kind="keras",
        call=_inference(network_until(network, output, "output")),
        output=output,
        digest=file_sha256(path),
        image_size=side,
        normalize=ours[0].normalize if ours else None,
        files=dict(model=str(path)),
    )


def _inference(network):
    return lambda images: network(images, training=False)


def _saved_model(path, output, trust):
    if not (path / "saved_model.pb").is_file():
        is_ours = (path / backbone_file.FILE_NAME).is_file()
        hint = (
            "; a run of ours is given as --init_backbone, with --extractor=endpoint"
            if is_ours
            else ""
        )
        raise InputError(f"--model={path}: holds no saved_model.pb{hint}")
    if not trust:
        raise InputError(f"--model={path}: {_TRUST}")
    digest = _directory_digest(path)
    try:
        loaded = tf.saved_model.load(str(path))
    except (tf.errors.OpError, *backbone_file.LOADING_ERRORS) as error:
        raise CorruptArtifactError(
            f"--model={path}: cannot be loaded ({_first_line(error)})"
        ) from error
    functions = dict(loaded.signatures)
    if _SIGNATURE not in functions and len(functions) != 1:
        raise InputError(
            f"--model={path}: has the signatures {shortened(functions) or 'none'}; export it with "
            f"one called {_SIGNATURE}"
        )
    function = functions.get(_SIGNATURE) or next(iter(functions.values()))
    taken = function.structured_input_signature[1]
    if len(taken) != 1:
        raise InputError(
            f"--model={path}: takes {shortened(taken) or 'nothing'}; one input, of images, is "
            "needed"
        )
    name, spec = next(iter(taken.items()))
    if not (spec.dtype.is_floating or spec.dtype == tf.uint8):
        raise InputError(f"--model={path}: takes {spec.dtype.name}, not pixels")
    side = image_side(
        f"--model={path}", tuple(spec.shape) if spec.shape.rank is not None else (None,) * 4
    )
    outputs = list(function.structured_outputs)
    output = output or _only(outputs, path)
    if output not in outputs:
        raise InputError(f"--output={output}: {path} has {shortened(outputs)}")

    def call(images):
        if spec.dtype == tf.uint8:
            images = tf.round(tf.clip_by_value(images, 0, 255))
        return function(**{name: tf.cast(images, spec.dtype)})[output]

    # Its variables live as long as the object they were loaded with.
    call.loaded = loaded
    return OpenedModel(
        kind="saved_model",
        call=call,
        output=output,
        digest=digest,
        image_size=side,
        files=dict(model=str(path)),
    )


def _only(names, path):
    if len(names) != 1:
        raise InputError(
            f"--model={path}: has several outputs; choose one: --output={shortened(names)}"
        )
    return names[0]


def _directory_digest(path):
    """SHA-256 of the names and contents of every file below a directory."""
    digest = hashlib.sha256()
    for root, directories, files in os.walk(path):
        directories.sort()
        for name in sorted(files):
            file = pathlib.Path(root, name)
            digest.update(
                f"{file.relative_to(path).as_posix()}\0{file_sha256(file)}\n".encode(
                    errors="surrogateescape"
                )
            )
    return digest.hexdigest()


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

"""The files networks travel in: `backbone.keras` beside `backbone.json`.

Its classes are registered, and it is read in Keras's safe mode.

A classifier on one has its own file, `classifier.keras`. `backbone.json` holds architecture, input
convention, endpoints, fingerprint, and where its first weights came from.
"""

import hashlib
import io
import json
import pathlib
import re

import keras
import numpy as np

from ccssl_tf.data.archives import open_zip
from ccssl_tf.models.backbone import Backbone
from ccssl_tf.models.hdf5_files import MOST_EXPANSION, check_hdf5
from ccssl_tf.runs.damage import reason_of, told_as_damage
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import atomic_file, fingerprint_of, write_json
from ccssl_tf.runs.json_files import read_json

FILE_NAME, CLASSIFIER_FILE_NAME = "backbone.keras", "classifier.keras"
# Layers that run what the file, or another library, brings.
_PROGRAMS = {
    **dict(Lambda="Lambda", __lambda__="Lambda", TorchModuleWrapper="layer of PyTorch"),
    **dict(TFSMLayer="SavedModel", JaxLayer="layer of JAX", FlaxLayer="layer of JAX"),
}
_ADVICE = "train, or fetch, it again"


def backbone_fingerprint(backbone: Backbone) -> str:
    """Returns a SHA-256 (hex) of the architecture and every weight."""
    return network_fingerprint(backbone.architecture(), backbone.weights)


def network_fingerprint(architecture: dict, weights: list) -> str:
    """Returns a SHA-256 (hex) of a network's configuration and its variables."""
    digest = hashlib.sha256(fingerprint_of(architecture).encode())
    for weight in weights:
        if "seed_generator" in weight.path:
            continue
        # A weight without a name is numbered by what the process made before.
        digest.update(
            re.sub(r"/variable_\d+$", "/variable", weight.path).split("/", 1)[-1].encode()
        )
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).tobytes())
    return digest.hexdigest()


def save_model(model: keras.Model, path):
    """Writes a model of registered layers as a `.keras` file, wholly or not at all."""
    with atomic_file(path) as temporary:
        model.save(temporary)


def load_model(path, trust: bool = False) -> keras.Model:
    """Loads a model of registered layers from a `.keras` file.

    With `trust` it may hold a program, too.

    Raises:
      InputError: the file holds code (a Lambda) or classes that are neither Keras's nor ours, or
        needs a library that is not there.
      CorruptArtifactError: it cannot be loaded for any other reason, or unpacks to more than 64 MiB
        and more than 20 times its size, which weights do not.
    """
    try:
        with told_as_damage(path, "cannot be loaded", _ADVICE):
            _check_members(path)
            return keras.saving.load_model(path, compile=False, safe_mode=not trust)
    except CorruptArtifactError as error:
        if foreign := _foreign_class(path):
            raise InputError(
                f"{path}: holds {foreign}; only models of Keras's and this project's layers are "
                "loaded, never programs of others"
            ) from error
        if isinstance(error.__cause__, ImportError):
            raise InputError(
                f"{path}: needs a library that is not installed ({reason_of(error.__cause__)})"
            ) from error
        raise


def _check_members(path):
    """Compares sizes and checksums, which Keras does not always."""
    with open_zip(path, MOST_EXPANSION, _ADVICE) as archive:
        for member in archive.namelist():
            data = archive.read(member)
            if member.endswith(".h5"):
                check_hdf5(io.BytesIO(data), len(data), path, _ADVICE)


def _foreign_class(path) -> str | None:
    """Names what makes an undamaged file a program of someone else's; None for nothing."""
    try:
        with told_as_damage(path, "", ""), open_zip(path, MOST_EXPANSION, "") as archive:
            pending = [json.loads(archive.read("config.json"))]
    except CorruptArtifactError:
        return None
    while pending:
        node = pending.pop()
        pending += (
            node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        )
        if not isinstance(node, dict) or "class_name" not in node:
            continue
        name, package, registered = (
            node["class_name"],
            str(node.get("module")),
            node.get("registered_name"),
        )
        if name in _PROGRAMS:
            return f"a {_PROGRAMS[name]}, which is a program,"
        ours = package.split(".")[0] == "keras" or (package == "builtins" and name != "function")
        known = ours or keras.saving.get_registered_object(registered) is not None
        if "config" in node and "module" in node and not known:
            return f"a {name}"
    return None


def save_backbone(backbone: Backbone, directory) -> str:
    """Writes `backbone.keras` and `backbone.json` into `directory`, made if absent; returns
    the fingerprint.

    >>> from ccssl_tf import AlexNet, save_backbone
    >>> backbone = AlexNet(stem="small", width_multiplier=0.1, fc_units=())
    >>> len(save_backbone(backbone, workdir))
    64
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_model(backbone, directory / FILE_NAME)
    fingerprint = backbone_fingerprint(backbone)
    write_json(
        directory / "backbone.json",
        dict(
            architecture=backbone.architecture(),
            input=backbone.input_convention(),
            endpoints=backbone.endpoint_names,
            fingerprint=fingerprint,
            weights_from=backbone.weights_from,
        ),
    )
    return fingerprint


def load_backbone(path, adopt=None, *, include_preprocessing=False) -> Backbone | keras.Model:
    """Loads a backbone from a `backbone.keras` file or a work directory holding one.

    Args:
      path: of the file or directory.
      adopt: (model, file) -> backbone, for a Keras model of somebody else's; None to refuse it.
      include_preprocessing: to return a keras.Model that takes RGB images [B, H, W, 3] in [0, 255]
        and gives the endpoints, instead of the backbone, which takes what its `normalize` makes of
        them.

    Raises:
      InputError: no such file, not a `.keras` file, or a model that is not one of our backbones.
      CorruptArtifactError: the file is damaged, or its weights are not those that `backbone.json`
        beside it tells of.

    >>> from ccssl_tf import load_backbone
    >>> backbone = load_backbone(teacher)
    >>> backbone.endpoint_names
    ['conv1', 'conv2', 'conv3', 'conv4', 'conv5']
    """
    backbone = _load_backbone(path, adopt)
    if not include_preprocessing:
        return backbone
    images = keras.Input([None, None, 3])
    return keras.Model(images, backbone(backbone.normalize(images)))


def _load_backbone(path, adopt):
    path = pathlib.Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"{file}: no such file; name a finished training directory that has a {FILE_NAME}"
        )
    if file.suffix != ".keras":
        raise InputError(
            f"{file}: not a .keras file; other formats come in through named importers "
            "(ccssl_tf/models/importers.py)"
        )
    model = load_model(file)
    if not isinstance(model, Backbone):
        if adopt:
            return adopt(model, file)
        raise InputError(f"{file}: holds a {type(model).__name__}, not a backbone of this project")
    told, fingerprint = (
        describe(file) if file.name == FILE_NAME else {},
        backbone_fingerprint(model),
    )
    if told.get("fingerprint", fingerprint) != fingerprint:
        raise CorruptArtifactError(
            f"{file}: its weights do not have the fingerprint in backbone.json; train it again"
        )
    model.weights_from = dict(
        file=str(file), fingerprint=fingerprint, weights_from=told.get("weights_from")
    )
    return model


def describe(path) -> dict:
    """Returns the contents of `backbone.json` beside or in `path`, {} when there is none.

    CorruptArtifactError is raised for a damaged one.
    """
    path = pathlib.Path(path)
    file = (path if path.is_dir() else path.parent) / "backbone.json"
    if not file.is_file():
        return {}
    form = dict(fingerprint=(str, None), weights_from=(dict, None))
    return read_json(file, form, remedy="train it again")

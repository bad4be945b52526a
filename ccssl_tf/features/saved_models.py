"""TensorFlow's SavedModels of others.

A SavedModel is a program: it may read and write files as its user may, so it is opened for those
only who say that they trust it.
"""

import hashlib
import os
import pathlib

import tensorflow as tf

from ccssl_tf.features.opened_model import OpenedModel, only_output
from ccssl_tf.models import backbone_file
from ccssl_tf.models.input_convention import image_side
from ccssl_tf.models.outputs import shortened
from ccssl_tf.runs.damage import told_as_damage
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import file_sha256

_TRUST = (
    "a SavedModel is a program, which can read and write files as you can; give --trust_model "
    "if you trust who made it"
)
_SIGNATURE = "serving_default"


def open_saved_model(path: pathlib.Path, output: str | None, trust: bool) -> OpenedModel:
    """Opens a SavedModel by its signature.

    Args:
      path: its directory.
      output: key of the output wanted; None for the only one.
      trust: whether it may be run.

    Raises:
      InputError: it may not be run, has no such output, or does not take RGB images.
      CorruptArtifactError: it is damaged.
    """
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
    with told_as_damage(f"--model={path}", "cannot be loaded", "export it again"):
        loaded = tf.saved_model.load(str(path))
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
    output = output or only_output(outputs, path)
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

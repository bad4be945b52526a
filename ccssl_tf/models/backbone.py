"""What every backbone shares: named endpoints, an input convention, and the file it travels in.

A backbone travels as `backbone.keras` (registered classes, safe mode) beside `backbone.json` (architecture, input convention,
endpoints, fingerprint).
"""

import hashlib
import json
import pathlib
import zipfile
import zlib

import keras
import numpy as np
from absl import flags

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.errors import CorruptArtifactError, InputError
from ccssl_tf.layers import PerExampleDropout

WIDTH_MULTIPLIER = flags.DEFINE_float("width_multiplier", 1.0, "Scales the number of channels; 1 in the paper.", lower_bound=0.05)
NORMALIZATION = flags.DEFINE_enum(
    "normalization",
    "auto",
    ["auto", "lrn", "batch_norm", "none"],
    "Normalisation in the backbone. auto: lrn (AlexNet, as in the paper), batch_norm for VGG16 and for images below 128 pixels.",
)

# Mean RGB of ILSVRC2012 as Caffe's users subtract it (104, 117, 123 in BGR).
IMAGENET_MEAN = (123.0, 117.0, 104.0)
FILE_NAME = "backbone.keras"
# What Keras, zipfile and HDF5 raise on damaged and foreign files.
_LOADING_ERRORS = (
    *(ValueError, TypeError, LookupError, AttributeError, EOFError, OSError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


def scaled(channels: int, width_multiplier: float) -> int:
    """Returns `channels` times the multiplier, rounded to a positive multiple of 8 (so that two groups divide it)."""
    return max(8, round(channels * width_multiplier / 8) * 8)


def batch_normalization(name: str):
    """Batch normalisation over the whole global batch, whatever the number of replicas."""
    synchronized = keras.backend.backend() == "tensorflow"
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=synchronized, name=name)


def fully_connected(x, dense, fc_units, dropout_rate: float) -> dict:
    """Puts fc6 and fc7 on a map; returns them as endpoints (fc6 rectified, fc7 after its dropout, as its readers want it).

    Args:
      x: [B, h, w, C] of known size.
      dense: (units, name) -> Dense layer.
      fc_units: sizes of fc6 and fc7.
      dropout_rate: after each.
    """
    endpoints = {}
    x = keras.layers.Flatten(name="flatten")(x)
    for stream, (layer, units) in enumerate(zip(("fc6", "fc7"), fc_units, strict=True)):
        endpoints[layer] = x = keras.layers.ReLU(name=f"{layer}_relu")(dense(units, layer)(x))
        x = PerExampleDropout(dropout_rate, stream=1000 + stream, name=f"{layer}_dropout")(x)
    return dict(endpoints, fc7=x)


class Backbone(keras.Model):
    """A Functional model from images [B, H, W, 3] (float32, RGB, mean subtracted) to a dict of endpoints [B, h, w, C].

    Subclasses pass `inputs` and `outputs={endpoint: tensor}` and return their own arguments from `get_config`. Endpoints are
    activations after the rectifier and before pooling.
    """

    def __init__(self, *, inputs, outputs, name):
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        # Under PyTorch Keras sorts the keys of `output`.
        self._endpoint_names = tuple(outputs)

    def get_config(self):
        """The subclass's constructor arguments: what the architecture is rebuilt from."""
        raise TypeError(f"{type(self).__name__} must return its own arguments")

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Rebuilds the network from its arguments."""
        return cls(**config)

    @property
    def endpoint_names(self) -> list[str]:
        """Names of the endpoints, first layer first."""
        return list(self._endpoint_names)

    def normalize(self, images):
        """Maps RGB images in [0, 255] of any dtype to the float32 this backbone takes (mean subtracted)."""
        return keras.ops.cast(images, "float32") - keras.ops.convert_to_tensor(np.array(IMAGENET_MEAN, "float32"))

    def convolutions(self) -> list:
        """Returns the convolutional layers, first first."""
        return [layer for layer in self.layers if isinstance(layer, keras.layers.Conv2D)]

    def architecture(self) -> dict:
        """Returns what must agree for weights to be copied: kernels, groups, normalisation; not stride, padding or input size."""
        kernels = {layer.name: [*layer.kernel.shape, layer.groups] for layer in self.convolutions()}
        config = self.get_config()
        return dict(
            type=type(self).__name__, kernels=kernels, **{name: config[name] for name in ("normalization", "order") if name in config}
        )


def backbone_fingerprint(backbone: Backbone) -> str:
    """Returns a SHA-256 (hex) of the architecture and every weight."""
    digest = hashlib.sha256(manifest_lib.fingerprint_of(backbone.architecture()).encode())
    for weight in backbone.weights:
        if "seed_generator" in weight.path:
            continue
        digest.update(weight.path.split("/", 1)[-1].encode())
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).tobytes())
    return digest.hexdigest()


def save_model(model: keras.Model, path):
    """Writes a model of registered layers as a `.keras` file, wholly or not at all."""
    with manifest_lib.atomic_file(path) as temporary:
        model.save(temporary)


def load_model(path) -> keras.Model:
    """Loads a model of registered layers from a `.keras` file; raises CorruptArtifactError when that cannot be done."""
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except _LOADING_ERRORS as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise CorruptArtifactError(f"{path}: cannot be loaded ({first_line}); train it again") from error


def save_backbone(backbone: Backbone, directory) -> str:
    """Writes `backbone.keras` and `backbone.json` into `directory`; returns the fingerprint."""
    directory = pathlib.Path(directory)
    save_model(backbone, directory / FILE_NAME)
    fingerprint = backbone_fingerprint(backbone)
    manifest_lib.write_json(
        directory / "backbone.json",
        dict(
            architecture=backbone.architecture(),
            input=dict(channels="RGB", range=[0, 255], mean=list(IMAGENET_MEAN), scale=1.0),
            endpoints=backbone.endpoint_names,
            fingerprint=fingerprint,
        ),
    )
    return fingerprint


def load_backbone(path) -> Backbone:
    """Loads a backbone from a `backbone.keras` file or a work directory holding one.

    Raises:
      InputError: no such file, not a `.keras` file, or a model that is not one of our backbones.
      CorruptArtifactError: the file is damaged, or its weights are not those that `backbone.json` beside it tells of.
    """
    path = pathlib.Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: no such file; name a finished training directory that has a {FILE_NAME}")
    if file.suffix != ".keras":
        raise InputError(f"{file}: not a .keras file; other formats come in through named importers")
    model = load_model(file)
    if not isinstance(model, Backbone):
        raise InputError(f"{file}: holds a {type(model).__name__}, not a backbone of this project")
    recorded = describe(file).get("fingerprint") if file.name == FILE_NAME else None
    if recorded and recorded != backbone_fingerprint(model):
        raise CorruptArtifactError(f"{file}: its weights do not have the fingerprint in backbone.json; train it again")
    return model


def copy_convolutions(source: Backbone, target: Backbone, source_name: str):
    """Copies the convolutional part (kernels, biases, normalisation) of `source` into `target`.

    Fully connected layers keep their random start, as in every evaluation of the paper (section 5).

    Raises:
      InputError: the architectures differ; the message names `source_name` and the first difference.
    """
    theirs, ours = source.architecture(), target.architecture()
    if theirs != ours:
        name = next(key for key in {**ours, **theirs} if theirs.get(key) != ours.get(key))
        found, wanted = theirs.get(name), ours.get(name)
        if name == "kernels":
            layer = next(key for key in {**wanted, **found} if wanted.get(key) != found.get(key))
            name, found, wanted = f"kernel of {layer}", found.get(layer), wanted.get(layer)
        raise InputError(f"{source_name}: another architecture: {name} is {found}, the network being built has {wanted}")
    for layer in target.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.BatchNormalization):
            layer.set_weights(source.get_layer(layer.name).get_weights())


def describe(path) -> dict:
    """Returns the contents of `backbone.json` beside or in `path`, {} when there is none; CorruptArtifactError for a damaged one."""
    path = pathlib.Path(path)
    file = (path if path.is_dir() else path.parent) / "backbone.json"
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise CorruptArtifactError(f"{file}: damaged ({error}); train it again") from error

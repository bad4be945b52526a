"""What every backbone shares: named endpoints, an input convention, a start from another."""

import dataclasses
import typing
import warnings

import keras
import numpy as np

from ccssl_tf.layers import PerExampleDropout
from ccssl_tf.ops import color
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.fields import as_text
from ccssl_tf.runs.settings import Settings, setting

BATCH_NORM_MOMENTUM = 0.9
# The lower line of the paper's tables, `random`, is a network as it is initialised, and no
# statistics of images go into it: its batch normalisation has mean 0, variance 1, scale 1 and shift
# 0, so that, frozen, it passes on what it gets (divided by 1 + 5e-6).
RANDOM_START = (
    "random networks are as initialised, their batch normalisation with mean 0 and variance 1"
)

# Mean RGB of ILSVRC2012 as Caffe's users subtract it (104, 117, 123 in BGR).
IMAGENET_MEAN = (123.0, 117.0, 104.0)
# What a network sees of the RGB images every stage gives it; Lab is scaled so that black to white
# spans 255, as in RGB.
COLORS = dict(
    rgb="RGB less the mean",
    gray="2.55 (L - 50) of Lab in all three channels: no colour",
    lab_halves="2.55 (L - 50, a, b) of Lab; half of every layer's channels sees L only, the other "
    "half a and b only",
)
_LAB_SCALE = 2.55


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackboneSettings(Settings):
    """What may be said of a backbone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WidthSettings(BackboneSettings):
    """How wide a backbone is."""

    width_multiplier: float | None = setting(
        None,
        "Scales the number of channels.",
        minimum=0.05,
        maximum=16,
        paper=1.0,
        automatic="1, or that of --init_backbone",
        formerly=["1.0"],
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FullyConnectedSettings(Settings):
    """Fully connected layers, in networks that have them."""

    fc_units: tuple[int, ...] = setting(
        (4096, 4096), "Units of fc6 and fc7.", minimum=1, maximum=2**17, paper=(4096, 4096)
    )
    dropout_rate: float = setting(
        0.5, "Share of units dropped after fc6 and fc7.", minimum=0, maximum=0.99, paper=0.5
    )

    def check(self):
        """Two layers have two sizes."""
        super().check()
        if len(self.fc_units) != 2:
            raise FlagError(
                f"--fc_units={as_text(self.fc_units)}: expected two whole numbers, e.g. 4096,4096"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormalizedSettings(WidthSettings, FullyConnectedSettings):
    """A backbone whose normalisation may be chosen."""

    normalization: str = setting(
        "auto",
        "Normalisation in the backbone. auto: lrn (AlexNet, as in the paper), batch_norm for VGG16 "
        "and for images below 128 pixels.",
        choices=["auto", "lrn", "batch_norm", "none"],
    )


def check_choice(argument: str, value, choices):
    """Raises InputError unless `value` is one of `choices`.

    A misspelt argument must not choose the other network.
    """
    if value not in choices:
        raise InputError(f"{argument}: must be {' or '.join(map(str, choices))}, not {value}")


def scaled(channels: int, width_multiplier: float) -> int:
    """Returns `channels` times the multiplier, rounded to a positive multiple of 8.

    Two groups of channels then divide it.
    """
    return max(8, round(channels * width_multiplier / 8) * 8)


def batch_normalization(name: str):
    """Batch normalisation over the whole global batch, whatever the number of replicas."""
    synchronized = keras.backend.backend() == "tensorflow"
    return keras.layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM, epsilon=1e-5, synchronized=synchronized, name=name
    )


def fully_connected(x, dense, fc_units, dropout_rate: float) -> dict:
    """Puts fc6 and fc7 on a map; returns them as endpoints.

    fc6 is rectified, fc7 after its dropout, as its readers want it.

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
    """A Functional model from images [B, H, W, 3] to a dict of endpoints [B, h, w, C].

    Images are float32, RGB, with the mean subtracted.

    Subclasses pass `inputs` and `outputs={endpoint: tensor}` and return their own arguments from
    `get_config`. Endpoints are activations after the rectifier and before pooling.

    Attributes:
      input_mean: mean RGB in [0, 255] that `normalize` subtracts.
      colors: what of the images is seen, a key of COLORS.
      weights_from: None for random first weights, else a JSON object that says which file they came
        from and what was done to them.
    """

    Settings: typing.ClassVar[type[BackboneSettings]] = BackboneSettings

    def __init__(self, *, inputs, outputs, name, input_mean=IMAGENET_MEAN, colors="rgb"):
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        # Under PyTorch Keras sorts the keys of `output`.
        self._endpoint_names = tuple(outputs)
        self.input_mean = tuple(float(value) for value in input_mean)
        self.colors = colors
        self.weights_from = None

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
        """Maps RGB images in [0, 255] of any dtype to the float32 this backbone takes.

        COLORS says what of them is seen. Arrays of NumPy that lie in [0, 1] are warned of.
        """
        if isinstance(images, np.ndarray) and images.dtype.kind == "f" and 0 < np.max(images) <= 1:
            warnings.warn(
                "images in [0, 1]: this backbone takes 0 to 255; multiply them by 255", stacklevel=2
            )
        if self.colors != "rgb":
            lab = color.rgb_to_lab(images)
            lightness = lab[..., :1] - 50
            seen = [lightness, lab[..., 1:]] if self.colors == "lab_halves" else [lightness] * 3
            return _LAB_SCALE * keras.ops.concatenate(seen, axis=-1)
        return keras.ops.cast(images, "float32") - keras.ops.convert_to_tensor(
            np.array(self.input_mean, "float32")
        )

    def input_convention(self) -> dict:
        """Returns what `backbone.json` says of the images `normalize` takes and makes."""
        return dict(
            channels="RGB",
            range=[0, 255],
            mean=list(self.input_mean),
            scale=1.0,
            seen=COLORS[self.colors],
        )

    def convolutions(self) -> list:
        """Returns the convolutional layers, first first."""
        return [layer for layer in self.layers if isinstance(layer, keras.layers.Conv2D)]

    def transferred_layers(self, keep_fc: bool = False) -> list:
        """Returns the layers whose weights another network of this architecture starts from.

        Fully connected ones are among them with `keep_fc` only.
        """
        kinds = (
            keras.layers.Conv2D,
            keras.layers.BatchNormalization,
            *([keras.layers.Dense] if keep_fc else []),
        )
        return [layer for layer in self.layers if isinstance(layer, kinds)]

    def architecture(self) -> dict:
        """Returns what must agree for weights to be copied.

        That is kernels, groups, normalisation and mean; not stride, padding or input size.
        """
        kernels = {layer.name: [*layer.kernel.shape, layer.groups] for layer in self.convolutions()}
        config = self.get_config()
        facts = {name: config[name] for name in ("normalization", "order") if name in config}
        if self.input_mean != IMAGENET_MEAN:
            facts["input_mean"] = list(self.input_mean)
        return dict(type=type(self).__name__, kernels=kernels, **facts)


def fully_connected_layers(backbone: Backbone) -> dict[str, keras.layers.Dense]:
    """Returns fc6 and fc7 of a backbone by name, {} where it has none."""
    if "fc6" not in backbone.endpoint_names:
        return {}
    return {name: backbone.get_layer(name) for name in ("fc6", "fc7")}


def copy_convolutions(source: Backbone, target: Backbone, source_name: str, keep_fc: bool = False):
    """Copies the convolutional part (kernels, biases, normalisation) of `source` into `target`.

    Fully connected layers keep their random start, as in the evaluations of the paper (section 5),
    unless `keep_fc`.

    Raises:
      InputError: the architectures differ, or the fully connected layers do; the message names
        `source_name` and the first difference.
    """
    theirs, ours = source.architecture(), target.architecture()
    if theirs != ours:
        name = next(key for key in {**ours, **theirs} if theirs.get(key) != ours.get(key))
        there, here = theirs.get(name), ours.get(name)
        if name == "kernels":
            layer = next(key for key in {**here, **there} if here.get(key) != there.get(key))
            name, there, here = f"kernel of {layer}", there.get(layer), here.get(layer)
        raise InputError(
            f"{source_name}: another architecture: {name} is {there}, the network being built has "
            f"{here}"
        )
    for layer in target.transferred_layers(keep_fc):
        if isinstance(layer, keras.layers.Dense):
            _check_same_shape(layer, source, source_name)
        layer.set_weights(source.get_layer(layer.name).get_weights())


def _check_same_shape(layer, source, source_name):
    theirs = next(
        (tuple(other.kernel.shape) for other in source.layers if other.name == layer.name), None
    )
    if theirs is None:
        raise InputError(
            f"{source_name}: has no {layer.name} to keep; name a network that was trained with "
            "fully connected layers"
        )
    if theirs != tuple(layer.kernel.shape):
        raise InputError(
            f"{source_name}: its {layer.name} is {theirs}, the network being built has "
            f"{tuple(layer.kernel.shape)}; keep its --image_size"
        )

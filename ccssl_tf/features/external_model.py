"""A network made elsewhere as the teacher: an output of a SavedModel, a `.keras` file, or a network of a library, by name; pooled.

    --model=exported/ --trust_model --output=output_0 --input_range=-1,1
    --model=net.keras --output=block4_conv3 --input_range=0,1 --input_mean=0.485,0.456,0.406 --input_std=0.229,0.224,0.225
    --model=ResNet50 --weights=resnet50_notop.h5
    --model=keras_hub:vit_base_patch16_224_imagenet

What a network takes for a pixel is the one thing its file does not say, and features of wrongly scaled images look like features: so
--input_range has no default, but for networks of keras.applications, KerasHub and ours, which bring their preprocessing.
"""

import dataclasses
import pathlib

import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags
from ccssl_tf.errors import FlagError, InputError
from ccssl_tf.features.endpoint import POOL_GRID, POOLING, NetworkExtractor, pooled_rows
from ccssl_tf.features.model_files import open_model
from ccssl_tf.models.backbone import WIDTH_MULTIPLIER

MODEL = flags.DEFINE_string(
    "model",
    None,
    "For --extractor=external: a SavedModel directory, a .keras file, or a network by name: of keras.applications, e.g. ResNet50, or of "
    "KerasHub, keras_hub:NAME, where NAME may be a preset's directory, too.",
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "Of a --model of keras.applications: an .h5 or .weights.h5 file, imagenet (Keras downloads them once) or random. Of KerasHub: a "
    "file or random; by default the preset's own (downloaded once).",
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Output of --model: a key of a SavedModel's outputs, else a layer or output. By default the only one, or the last map.",
)
_TRUST = flags.DEFINE_bool("trust_model", False, "Run a SavedModel, which is a program, or a .keras file that holds one.")
_RANGE = flags.DEFINE_list("input_range", None, "What --model takes black and white for: 0,255, 0,1 or -1,1, say.")
_MEAN = flags.DEFINE_list("input_mean", None, "Subtracted from R, G and B after --input_range, e.g. 0.485,0.456,0.406 of ImageNet in 0,1.")
_STD = flags.DEFINE_list("input_std", None, "What R, G and B are then divided by, e.g. 0.229,0.224,0.225 of ImageNet in 0,1.")
_CHANNELS = flags.DEFINE_enum("input_channels", "RGB", ["RGB", "BGR"], "Order in which --model takes the channels.")


@dataclasses.dataclass(frozen=True)
class InputConvention:
    """What a network takes for a pixel: a range for [0, 255], less a mean (RGB), over a deviation (RGB), in an order of channels."""

    range: tuple[float, float]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channels: str = "RGB"

    def __call__(self, images):
        """Maps [n, H, W, 3] RGB in [0, 255], of any dtype, to float32."""
        low, high = self.range
        scaled = low + tf.cast(images, tf.float32) * ((high - low) / 255)
        normalized = (scaled - tf.constant(self.mean)) / tf.constant(self.std)
        return normalized[..., ::-1] if self.channels == "BGR" else normalized


class ExternalModelExtractor(NetworkExtractor):
    """An output of someone else's network; maps are pooled to --pool_grid, or averaged to one vector without it."""

    @classmethod
    def from_flags(cls):
        """Reads this module's flags and those of endpoint extraction and networks."""
        given = {flag: flags.FLAGS[flag].present for flag in ("pool_grid", "pooling", "image_size")}
        opened = open_model(
            MODEL.value, output=_OUTPUT.value, weights=_WEIGHTS.value, trust=_TRUST.value, width_multiplier=WIDTH_MULTIPLIER.value
        )
        return cls(
            opened,
            name=MODEL.value,
            convention=_convention_from_flags(),
            pool_grid=POOL_GRID.value if given["pool_grid"] else 1,
            pooling=POOLING.value if given["pool_grid"] or given["pooling"] else "average",
            image_size=network_flags.IMAGE_SIZE.value if given["image_size"] else None,
            batch_size=network_flags.BATCH_SIZE.value,
        )

    def __init__(self, opened, *, name: str, convention, pool_grid: int, pooling: str, image_size: int | None, batch_size: int):
        """Runs a first image through the network.

        Args:
          opened: a `ccssl_tf.features.model_files.OpenedModel`.
          name: of the network or its file, for messages and the manifest.
          convention: an `InputConvention`; None for a network that brings its own preprocessing.
          pool_grid: cells a side a map is pooled to.
          pooling: "max" or "average".
          image_size: S, pixels a side; None for the network's own.
          batch_size: images a step of one replica.

        Raises:
          InputError: the convention is missing or there is one already, another size than the network takes, or it cannot be run.
        """
        self._opened, self._name, self._pool_grid, self._pooling = opened, name, pool_grid, pooling
        if opened.normalize and convention:
            raise InputError(f"--input_range: {name} brings its own preprocessing; leave the flag out")
        if not opened.normalize and not convention:
            raise InputError(f"--model={name}: say what it takes pixels for: --input_range=0,255, 0,1 or -1,1 (--input_mean, --input_std)")
        if opened.image_size and image_size not in (None, opened.image_size):
            raise InputError(f"--image_size={image_size}: {name} takes images of {opened.image_size} pixels; leave the flag out")
        size = image_size or opened.image_size or opened.usual_size or network_flags.IMAGE_SIZE.default
        self._normalize = opened.normalize or convention
        seen = dataclasses.asdict(convention) if convention else "its own preprocessing"
        self._parameters = dict(name="external", model=pathlib.Path(name).name, kind=opened.kind, output=opened.output, image_size=size)
        self._parameters |= dict(input=seen, pool_grid=pool_grid, pooling=pooling)
        try:
            # A SavedModel for images of any size does not say how large its maps are.
            strategy = tf.distribute.get_strategy()
            outputs = strategy.run(lambda: opened.call(self._normalize(tf.zeros([1, size, size, 3]))))
            self._shape = strategy.experimental_local_results(outputs)[0].shape[1:]
            if self._shape.rank not in (1, 2, 3):
                found = ["n", *self._shape]
                raise InputError(f"--output={opened.output}: is {found}; for each image a vector, tokens or a map is needed")
            super().__init__(image_size=size, batch_size=batch_size)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            if isinstance(error, InputError):
                raise
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
            raise InputError(f"--model={name}: cannot be run on images [n, {size}, {size}, 3] ({reason})") from error

    def describe(self) -> dict:
        """Returns what the manifest says of the features."""
        return dict(extractor=self._parameters, backbone_fingerprint=self._opened.digest)

    def inputs(self) -> dict[str, str]:
        """Returns flag name -> path of what is read besides the images: the network, or its weights."""
        return self._opened.files

    def rows(self, images):
        """The output, pooled and flattened; of tokens [n, T, C] the mean."""
        outputs = tf.ensure_shape(self._opened.call(self._normalize(images)), [None, *self._shape])
        outputs = tf.reduce_mean(outputs, 1) if self._shape.rank == 2 else outputs
        return pooled_rows(outputs, self._pool_grid, self._pooling)


def _convention_from_flags():
    low_high = _numbers("input_range", _RANGE.value, 2)
    parts = dict(mean=_numbers("input_mean", _MEAN.value, 3), std=_numbers("input_std", _STD.value, 3))
    parts = {name: value for name, value in parts.items() if value}
    if low_high is None:
        if parts or _CHANNELS.value != "RGB":
            raise FlagError("--input_mean, --input_std and --input_channels go with --input_range, which says what they refer to")
        return None
    if low_high[0] >= low_high[1] or min(parts.get("std", (1,))) <= 0:
        raise FlagError("--input_range: black must be less than white, and every --input_std above 0")
    return InputConvention(range=low_high, channels=_CHANNELS.value, **parts)


def _numbers(flag, words, count):
    try:
        values = None if words is None else tuple(float(word) for word in words)
    except ValueError:
        values = ()
    if values is not None and len(values) != count:
        raise FlagError(f"--{flag}={','.join(words)}: expected {count} numbers")
    return values

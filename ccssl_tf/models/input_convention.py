"""What a network takes for a pixel: the one thing a file of somebody else's does not say.

    --input_range=0,1 --input_mean=0.485,0.456,0.406 --input_std=0.229,0.224,0.225
    --input_channels=BGR

Features of wrongly scaled images look like features, so --input_range has no default; networks of
keras.applications, KerasHub and ours bring their preprocessing.
"""

import dataclasses

import keras
import numpy as np
from absl import flags

from ccssl_tf.runs.errors import FlagError, InputError

_RANGE = flags.DEFINE_list(
    "input_range",
    None,
    "What a network of others (--model, --init_backbone=FILE.keras) takes black and white for, "
    "e.g. 0,255, 0,1 or -1,1. Networks that "
    "know it themselves, in the same sweep, say, keep to what they know.",
)
_MEAN = flags.DEFINE_list(
    "input_mean",
    None,
    "Subtracted from R, G and B after --input_range, e.g. 0.485,0.456,0.406 of ImageNet in 0,1.",
)
_STD = flags.DEFINE_list(
    "input_std",
    None,
    "What R, G and B are then divided by, e.g. 0.229,0.224,0.225 of ImageNet in 0,1.",
)
_CHANNELS = flags.DEFINE_enum(
    "input_channels",
    "RGB",
    ["RGB", "BGR"],
    "Order in which a network of others takes the channels.",
)

# What a message about a missing convention ends with.
HOW_TO_SAY = (
    "say what it takes pixels for: --input_range=0,255, 0,1 or -1,1 (--input_mean, --input_std)"
)


@dataclasses.dataclass(frozen=True)
class InputConvention:
    """What a network takes for a pixel: a range for [0, 255], less a mean (RGB), over a deviation
    (RGB), in an order of channels.
    """

    range: tuple[float, float]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channels: str = "RGB"

    @classmethod
    def from_flags(cls) -> "InputConvention | None":
        """Returns what the flags say, None without --input_range.

        Raises:
          FlagError: not numbers, not so many, white is not above black, a deviation is not above 0,
            or --input_range is missing.
        """
        low_high = _numbers("input_range", _RANGE.value, 2)
        parts = dict(
            mean=_numbers("input_mean", _MEAN.value, 3), std=_numbers("input_std", _STD.value, 3)
        )
        parts = {name: value for name, value in parts.items() if value}
        if low_high is None:
            if parts or _CHANNELS.value != "RGB":
                raise FlagError(
                    "--input_mean, --input_std and --input_channels go with --input_range, which "
                    "says what they refer to"
                )
            return None
        if low_high[0] >= low_high[1] or min(parts.get("std", (1,))) <= 0:
            raise FlagError(
                "--input_range: black must be less than white, and every --input_std above 0"
            )
        return cls(range=low_high, channels=_CHANNELS.value, **parts)

    def __call__(self, images):
        """Maps [n, H, W, 3] RGB in [0, 255], of any dtype, to float32."""
        low, high = self.range
        mean, std = (
            keras.ops.convert_to_tensor(np.array(values, "float32"))
            for values in (self.mean, self.std)
        )
        normalized = (low + keras.ops.cast(images, "float32") * ((high - low) / 255) - mean) / std
        return keras.ops.flip(normalized, axis=-1) if self.channels == "BGR" else normalized


def image_side(name: str, shape) -> int | None:
    """Returns the side of the square RGB images a network takes, None for any.

    Args:
      name: of the network, for the message.
      shape: of its input, batch first.

    Raises:
      InputError: it takes something else.
    """
    if (
        len(shape) != 4
        or shape[3] not in (3, None)
        or shape[1] != shape[2]
        or shape[0] not in (None, 1)
    ):
        where = f" ({shape[3]} channels)" if len(shape) == 4 and shape[3] not in (3, None) else ""
        raise InputError(
            f"{name}: takes {list(shape)}{where}; square RGB images [None, S, S, 3] are what there "
            "is"
        )
    return shape[1]


def _numbers(flag, words, count):
    try:
        values = None if words is None else tuple(float(word) for word in words)
    except ValueError:
        values = ()
    if values is not None and not (len(values) == count and np.isfinite(values).all()):
        raise FlagError(f"--{flag}={','.join(words)}: expected {count} numbers")
    return values

"""What a network takes for a pixel: the one thing a file of somebody else's does not say.

    --input_range=0,1 --input_mean=0.485,0.456,0.406 --input_std=0.229,0.224,0.225
    --input_channels=BGR

Features of wrongly scaled images look like features, so --input_range has no default; networks of
keras.applications, KerasHub and ours bring their preprocessing.
"""

import dataclasses

import keras
import numpy as np

from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.fields import as_text
from ccssl_tf.runs.settings import Settings, setting

# What a message about a missing convention ends with.
HOW_TO_SAY = (
    "say what it takes pixels for: --input_range=0,255, 0,1 or -1,1 (--input_mean, --input_std)"
)


@dataclasses.dataclass(frozen=True)
class InputConvention:
    """What a network takes for a pixel.

    Pixels in [0, 255] go to a range, less a mean (RGB), over a deviation (RGB), in an order of
    channels.
    """

    range: tuple[float, float]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channels: str = "RGB"

    def __call__(self, images):
        """Maps [n, H, W, 3] RGB in [0, 255], of any dtype, to float32."""
        low, high = self.range
        mean, std = (
            keras.ops.convert_to_tensor(np.array(values, "float32"))
            for values in (self.mean, self.std)
        )
        normalized = (low + keras.ops.cast(images, "float32") * ((high - low) / 255) - mean) / std
        return keras.ops.flip(normalized, axis=-1) if self.channels == "BGR" else normalized


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputConventionSettings(Settings):
    """What a network of others takes for a pixel."""

    input_range: tuple[float, ...] | None = setting(
        None,
        "What a network of others takes black and white for, e.g. 0,255, 0,1 or -1,1. Networks "
        "that know it themselves, in the same sweep, say, keep to what they know.",
        minimum=-1_000_000,
        maximum=1_000_000,
    )
    input_mean: tuple[float, ...] | None = setting(
        None,
        "Subtracted from R, G and B after --input_range, e.g. 0.485,0.456,0.406 of ImageNet in "
        "0,1.",
        minimum=-1_000_000,
        maximum=1_000_000,
    )
    input_std: tuple[float, ...] | None = setting(
        None,
        "What R, G and B are then divided by, e.g. 0.229,0.224,0.225 of ImageNet in 0,1.",
        minimum=0,
        maximum=1_000_000,
    )
    input_channels: str = setting(
        "RGB",
        "Order in which a network of others takes the channels.",
        choices=["RGB", "BGR"],
    )

    def check(self):
        """Numbers, as many as there are; white above black, deviations above 0."""
        super().check()
        for name, count in (("input_range", 2), ("input_mean", 3), ("input_std", 3)):
            values = getattr(self, name)
            if values is not None and not (len(values) == count and np.isfinite(values).all()):
                raise FlagError(f"--{name}={as_text(values)}: expected {count} numbers")
        if self.input_range is None:
            if self.input_mean or self.input_std or self.input_channels != "RGB":
                raise FlagError(
                    "--input_mean, --input_std and --input_channels go with --input_range, which "
                    "says what they refer to"
                )
        elif self.input_range[0] >= self.input_range[1] or min(self.input_std or (1,)) <= 0:
            raise FlagError(
                "--input_range: black must be less than white, and every --input_std above 0"
            )

    def convention(self) -> InputConvention | None:
        """Returns what the settings say, None without a range."""
        if self.input_range is None:
            return None
        parts = dict(mean=self.input_mean, std=self.input_std)
        given = {name: value for name, value in parts.items() if value}
        return InputConvention(range=self.input_range, channels=self.input_channels, **given)


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

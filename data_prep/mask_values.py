"""The class of every pixel of a mask, from its numbers or, where these are not the classes', from
its colours.
"""

import dataclasses
import io

import numpy as np
from PIL import Image

from ccssl_tf.data.voc_colors import VOID, voc_colors
from data_prep.decoding import BadImage


@dataclasses.dataclass(frozen=True)
class MaskColors:
    """What the colours of masks mean.

    Attributes:
      num_classes: C, background not counted; values are 0..C, and 255 for void.
      colors: (red, green, blue) -> value; None: the devkit's colour map.
      trusts_indices: whether a palette's indices are the values whatever its colours are.
    """

    num_classes: int
    colors: dict[tuple[int, int, int], int] | None = None
    trusts_indices: bool = False

    def table(self) -> dict[tuple[int, ...], int]:
        """Returns the value of every colour that has one."""
        devkit = [tuple(map(int, color)) for color in voc_colors()]
        if self.colors is None:
            values = [*range(self.num_classes + 1), VOID]
            return {devkit[value]: value for value in values}
        return {devkit[VOID]: VOID} | self.colors

    def values(self, image: Image.Image) -> tuple[np.ndarray, bool]:
        """Returns the values of a decoded mask and whether they were told by its colours.

        Grey pixels are values. Indices into a palette are, if the palette gives each the colour of
        that value, or is the grey ramp; if all of its colours in use are those of values, these
        are taken.

        Args:
          image: of mode L, P or RGB.

        Returns:
          [H, W] uint8, and the bool.

        Raises:
          BadImage: another mode, a colour that no value has, or a value that no class has.
        """
        if image.mode == "L" or (image.mode == "P" and self.trusts_indices):
            return self.checked(np.array(image)), False
        if image.mode == "P":
            return self._of_palette(image)
        if image.mode == "RGB":
            return self._of_colors(np.array(image)), True
        raise BadImage(
            f"a mask of mode {image.mode}; class indices (palette or grey) or colours are needed"
        )

    def _of_palette(self, image):
        indices = np.array(image)
        palette = np.zeros([256, 3], int)
        colors = np.reshape(image.getpalette("RGB") or [], [-1, 3])
        palette[: len(colors)] = colors
        used = {int(index): tuple(map(int, palette[index])) for index in np.unique(indices)}
        table = self.table()
        values = {index: table.get(color) for index, color in used.items()}
        is_ramp = all(color == (index,) * 3 for index, color in used.items())
        if is_ramp or all(index == value for index, value in values.items()):
            return self.checked(indices), False
        unknown = next((index for index, value in values.items() if value is None), None)
        if unknown is not None:
            raise BadImage(
                f"its palette gives index {unknown} the colour {used[unknown]}, which is no "
                "class's; save the classes as grey values, or say --trust_mask_indices"
            )
        lookup = np.zeros(256, np.uint8)
        lookup[list(values)] = list(values.values())
        return lookup[indices], True

    def _of_colors(self, pixels):
        codes = pixels.astype(np.int64) @ [1 << 16, 1 << 8, 1]
        used, inverse = np.unique(codes, return_inverse=True)
        table = self.table()
        values = []
        for code in used:
            color = int(code >> 16), int(code >> 8 & 255), int(code & 255)
            if color not in table:
                raise BadImage(
                    f"has the colour {color}, which is no class's; save class indices (palette or "
                    "grey)"
                )
            values.append(table[color])
        return np.array(values, np.uint8)[inverse].reshape(codes.shape)

    def checked(self, values: np.ndarray) -> np.ndarray:
        """Returns values that are classes or void; raises BadImage where one is neither."""
        unknown = np.setdiff1d(values, [*range(self.num_classes + 1), VOID])
        if unknown.size:
            raise BadImage(f"holds class {unknown[0]}, expected 0..{self.num_classes} or {VOID}")
        return values


def read_png_mask(
    data: bytes, colors: MaskColors, size: tuple[int, int] | None = None
) -> tuple[np.ndarray, bool]:
    """Returns what `MaskColors.values` does of a PNG.

    Args:
      data: the PNG.
      colors: what its numbers and colours mean.
      size: width and height it must have; compared before anything is decoded.

    Raises:
      BadImage: not such a PNG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.verify()  # Its checksums. An image is used up by that.
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if size is not None and image.size != size:
                raise BadImage(
                    f"{image.size[0]}x{image.size[1]} pixels, the image has {size[0]}x{size[1]}"
                )
            return colors.values(image)
    except (MemoryError, BadImage):
        raise
    except Exception as error:  # Decoders raise anything on hostile bytes.
        raise BadImage(f"not a whole PNG ({error})") from error

"""Tables and figures as plain data, which the templates turn into HTML."""

import base64
import dataclasses
import os
import pathlib
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
      lines: its text, one line below the other.
      small: what stands below in small print, one line below the other.
      strong: whether the text is bold.
    """

    lines: tuple[str, ...]
    small: tuple[str, ...] = ()
    strong: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; the first cell of each row names the row."""

    head: list[Cell]
    rows: list[list[Cell]]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture with a caption.

    Attributes:
      light: data URI of the picture.
      dark: data URI of the picture for dark pages, None where it is the same.
      caption: lines of text.
      alternative: text for readers who cannot see the picture.
      kind: CSS class, "" for none.
    """

    light: str
    dark: str | None
    caption: tuple[str, ...]
    alternative: str
    kind: str


# A text stands for a cell of one line.
CellLike = Cell | str
# A picture is a path or the bytes of a PNG or WebP, or the bytes of one for light and one for dark
# pages.
Pictures = bytes | os.PathLike | dict[str, bytes]


def table(head: Sequence[CellLike], rows: Sequence[Sequence[CellLike]]) -> Table:
    """Returns a table of cells and texts."""
    return Table([_cell(content) for content in head], [list(map(_cell, row)) for row in rows])


def _cell(content: CellLike) -> Cell:
    return content if isinstance(content, Cell) else Cell((content,))


def figure(pictures: Pictures, *caption: str, alternative: str, kind: str = "") -> Figure:
    """Returns a figure with its pictures inside it.

    Args:
      pictures: PNG bytes, a path of a PNG, or {"light": bytes, "dark": bytes}.
      *caption: lines of text.
      alternative: text for readers who cannot see it.
      kind: CSS class.
    """
    if isinstance(pictures, os.PathLike):
        pictures = pathlib.Path(pictures).read_bytes()
    if isinstance(pictures, bytes):
        return Figure(data_uri(pictures), None, caption, alternative, kind)
    light, dark = data_uri(pictures["light"]), data_uri(pictures["dark"])
    return Figure(light, dark, caption, alternative, kind)


def data_uri(picture: bytes) -> str:
    """Returns the bytes of a PNG or WebP picture as a data URI."""
    kind = "webp" if picture.startswith(b"RIFF") else "png"
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode()

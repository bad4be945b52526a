"""What a converter hands to the conversion: images without their bytes, and how to read them."""

import dataclasses
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from data_prep import decoding


class Item(NamedTuple):
    """One source image, without its bytes.

    Attributes:
      name: file name stored in the record; bytes, since names need not be UTF-8.
      label: class in [0, number of classes), or -1.
      size: bytes of the source, for estimates.
      location: what the converter's `read` function needs to fetch the bytes.
    """

    name: bytes
    label: int
    size: int
    location: tuple


class Annotator(Protocol):
    """What a converter adds to its records; travels to the workers, so it holds no pixels."""

    def features(self, location: tuple, image: "decoding.ConvertedImage") -> dict:
        """Returns further features of the item at `location`, by key; raises BadImage where they do
        not suit the image.
        """

    def tfds_features(self) -> dict:
        """Returns the TFDS features of these keys, by key."""


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """What a converter found.

    Attributes:
      splits: split name -> images, in an order that depends on the source alone.
      class_names: names of the labels, or None.
      source: what kind of source it was, for the manifest.
      read: importable function from an item's location to the bytes of the image file.
      info: more facts for the manifest.
      annotator: makes the records' further features, or None.
      group_of: importable function from an item to what its source reads at once, such as a row
        group of Parquet; None: each image can be read by itself. See `shard_plan.plan_split`.
    """

    splits: dict[str, list[Item]]
    class_names: list[str] | None
    source: str
    read: Callable[[tuple], bytes]
    info: dict = dataclasses.field(default_factory=dict)
    annotator: Annotator | None = None
    group_of: Callable[[Item], Hashable] | None = None

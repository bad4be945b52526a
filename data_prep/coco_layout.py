"""Finds the images of COCO's instances files (and of tools that write them) with their boxes or
masks.

Boxes are [x, y, width, height] in pixels from 0, with decimals: the pixels from 1, the last one
included, that they cover by half or more are xmin = round(x) + 1 to xmax = round(x + width).
Categories are numbered from 0 in the order of their ids. A crowd counts as difficult.
"""

import json
import pathlib
from collections.abc import Sequence

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.progress import Progress
from data_prep import locations
from data_prep.coco_file import SourceImages, read_categories, read_instances, split_of
from data_prep.coco_masks import CocoMaskAnnotator, MaskLocation, checked_shape
from data_prep.decoding import printable
from data_prep.faults import Faults
from data_prep.image_set import ImageSet, Item
from data_prep.object_annotator import (
    BoxEdges,
    Object,
    ObjectAnnotator,
    ObjectLocation,
    packed,
    read_image,
    size_at,
)

MOST_MASK_CLASSES = 254


def list_images(
    source: str | pathlib.Path,
    annotations: Sequence[str | pathlib.Path],
    *,
    task: str,
    splits: Sequence[str] | None = None,
    clip_boxes: bool = False,
) -> ImageSet:
    """Lists the images that instances files name.

    Args:
      source: directory of the images, at any depth, or an uncompressed tar of them.
      annotations: paths of the files, each of one split.
      task: "detection" or "segmentation".
      splits: of each file; None: told by its name, or by the only folder of its images.
      clip_boxes: see `BoxEdges`.

    Raises:
      InputError: files that are none, tell no split or different categories, images that are
        missing or there twice, boxes outside of their image; the first 20 faults are told, and how
        many there are.
    """
    faults = Faults("--annotations")
    files = SourceImages(pathlib.Path(source))
    contents = {str(path): read_instances(path) for path in annotations}
    if len(contents) < len(annotations):
        raise InputError("--annotations: a file is named twice")
    categories = read_categories(contents)
    names = [name for _, name in sorted(categories.items())]
    number_of = {category: number for number, category in enumerate(sorted(categories))}
    if task == "segmentation" and len(names) > MOST_MASK_CLASSES:
        raise InputError(
            f"--annotations: {len(names)} categories, masks hold at most {MOST_MASK_CLASSES}"
        )
    edges = BoxEdges(clip_boxes)
    items: dict[str, list[Item]] = {}
    total = sum(len(content["images"]) for content in contents.values())
    progress, done = Progress("indexing", total, "images"), 0
    for position, (path, content) in enumerate(contents.items()):
        split = splits[position] if splits else split_of(path, content)
        if split in items:
            raise InputError(f"--annotations={path}: a second file of the split {split}")
        items[split] = []
        reader = _Reader(path, content, files, number_of, edges, faults)
        for item in reader.items(task, split):
            if item is not None:
                items[split].append(item)
            done += 1
            if done < total:
                progress.update(done)
    _refuse_shared(items, faults)
    faults.refuse("mend them")
    if edges.describe():
        print(f"--annotations: {edges.describe()}")
    if task == "segmentation":
        annotator, read = CocoMaskAnnotator(), read_mask_image
    else:
        annotator, read = ObjectAnnotator(tuple(names)), read_image
    return ImageSet(items, names, "coco", read, {"task": task}, annotator)


def read_mask_image(location: MaskLocation) -> bytes:
    """Returns the bytes of an image file."""
    return locations.read_location(location.image)


def _refuse_shared(items, faults):
    """An image that is trained and tested on would tell nothing."""
    splits = [split for split in ("train", "val", "test") if split in items]
    seen: dict[bytes, str] = {}
    for split in splits:
        for item in items[split]:
            other = seen.setdefault(item.name, split)
            if other != split:
                faults.add(f"{printable(item.name)} is in {other} and in {split}")


class _Reader:
    """The images of one file."""

    def __init__(self, path, content, files, number_of, edges, faults):
        self._path, self._files, self._number_of = path, files, number_of
        self._edges, self._faults = edges, faults
        self._images = content["images"]
        self._by_image: dict[int | str, list[dict]] = {}
        seen: set[int | str] = set()
        for annotation in content["annotations"]:
            image = annotation.get("image_id") if isinstance(annotation, dict) else None
            if not isinstance(image, (int, str)):
                self._fault(f"an annotation without image_id: {str(annotation)[:60]}")
                continue
            number = annotation.get("id")
            if isinstance(number, (int, str)) and number in seen:
                self._fault(f"annotation {number} is there twice")
            elif isinstance(number, (int, str)):
                seen.add(number)
            self._by_image.setdefault(image, []).append(annotation)

    def items(self, task, split):
        """Yields an item for each image; None where it has a fault, which is told."""
        make = self._with_mask if task == "segmentation" else self._with_boxes
        seen: set[int | str] = set()
        names: set[bytes] = set()
        for image in self._images:
            yield self._item(image, split, seen, names, make)
        for image_id in self._by_image.keys() - seen:
            self._fault(f"annotations of image {image_id}, which it does not name")

    def _item(self, image, split, seen, names, make):
        try:
            image_id, name = image["id"], str(image["file_name"])
            size = int(image.get("width") or 0), int(image.get("height") or 0)
            is_new = image_id not in seen
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            return self._fault(f"an image without id, file_name or size: {str(image)[:60]}")
        seen.add(image_id)
        file, why = self._files.find(name, split, self._path)
        if file is None:
            return self._fault(f"{name} {why}")
        if not is_new or file.name in names:
            return self._fault(f"image {image_id} ({name}) is there twice")
        names.add(file.name)
        found = size_at(file)
        if found is not None and min(size) < 1:
            size = found  # As some tools leave it.
        if found is not None and found != size:
            turned = "; turn photos themselves that EXIF turns" if found[::-1] == size else ""
            return self._fault(
                f"{name}: {found[0]}x{found[1]} pixels, not {size[0]}x{size[1]}{turned}"
            )
        location = make(file, size, name, self._by_image.get(image_id, []))
        return Item(file.name, -1, file.size, location)

    def _fault(self, text):
        self._faults.add(f"{self._path}: {text}")

    def _category(self, annotation, name):
        """The class of an annotation; None where it has a fault, which is told."""
        category = annotation.get("category_id")
        if not isinstance(category, int) or category not in self._number_of:
            return self._fault(f"{name}: unknown category {str(category)[:60]}")
        return self._number_of[category]

    def _with_boxes(self, file, size, name, annotations):
        objects = []
        for annotation in annotations:
            label = self._category(annotation, name)
            edges = _edges(annotation.get("bbox"))
            if edges is None:
                self._fault(
                    f"{name}: bbox {str(annotation.get('bbox'))[:60]}, expected [x, y, width, "
                    "height] in pixels"
                )
                continue
            inside, fault = self._edges.rounded(edges, size)
            if fault:
                self._fault(f"{name}: box {str(annotation['bbox'])[:80]} {fault}")
            elif inside is not None and label is not None:
                objects.append(Object(label, inside, bool(annotation.get("iscrowd"))))
        return ObjectLocation(file.location, size, packed(objects))

    def _with_mask(self, file, size, name, annotations):
        told = []
        for annotation in annotations:
            label = self._category(annotation, name)
            shape = annotation.get("segmentation")
            if label is None:
                continue
            try:
                if not shape:
                    raise ValueError("none")
                checked_shape(shape, size)
            except (TypeError, ValueError, OverflowError) as error:
                self._fault(f"{name}: segmentation of annotation {annotation.get('id')}: {error}")
            else:
                told.append([label + 1, bool(annotation.get("iscrowd")), shape])
        return MaskLocation(file.location, size, json.dumps(told).encode())


def _edges(bbox):
    """(xmin, ymin, xmax, ymax) in pixels from 0; None where it is not four numbers."""
    try:
        x, y, width, height = map(float, bbox)
    except (TypeError, ValueError, OverflowError):
        return None
    return x, y, x + width, y + height

"""Finds the images of COCO's instances files (and of tools that write them) with their boxes or
masks.

Boxes are [x, y, width, height] in pixels from 0, with decimals: the pixels from 1, the last one
included, that they touch by half or more are xmin = round(x) + 1 to xmax = round(x + width).
Categories are numbered from 0 in the order of their ids. A crowd counts as difficult.
"""

import json
import math
import pathlib
import re
from collections.abc import Sequence

from ccssl_tf.runs.errors import InputError
from data_prep import locations
from data_prep.coco_masks import CocoMaskAnnotator, MaskLocation
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
)
from data_prep.split_names import split_of_name

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
    files = _images_by_name(pathlib.Path(source))
    contents = {str(path): _read(path) for path in annotations}
    categories = _categories(contents)
    names = [name for _, name in sorted(categories.items())]
    number_of = {category: number for number, category in enumerate(sorted(categories))}
    if task == "segmentation" and len(names) > MOST_MASK_CLASSES:
        raise InputError(
            f"--annotations: {len(names)} categories, masks hold at most {MOST_MASK_CLASSES}"
        )
    edges = BoxEdges(clip_boxes)
    items: dict[str, list[Item]] = {}
    for position, (path, content) in enumerate(contents.items()):
        split = splits[position] if splits else _split_of(path, content)
        if split in items:
            raise InputError(f"--annotations={path}: a second file of the split {split}")
        reader = _Reader(path, content, files, number_of, edges, faults)
        items[split] = list(reader.items(task))
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


def _images_by_name(source):
    """Path below the source, and base name where there is one of it -> file; None for several."""
    skipped = locations.SkippedFolders.nothing()
    walked = (
        locations.walk_tree(source, skipped) if source.is_dir() else locations.tar_members(source)
    )
    by_name = {}
    for file in walked:
        if locations.is_image_name(file.name):
            name = printable(file.name)
            by_name[name] = file
            base = name.rpartition("/")[2]
            if base != name:
                by_name[base] = None if base in by_name else file
    for line in skipped.describe():
        print(f"{source}: {line}")
    if not by_name:
        raise InputError(f"{source}: holds no images")
    return by_name


def _read(path):
    try:
        content = json.loads(pathlib.Path(path).read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"--annotations={path}: no JSON file ({error})") from error
    kinds = dict(images=list, annotations=list, categories=list)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), kind) for key, kind in kinds.items()
    ):
        present = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise InputError(
            f"--annotations={path}: expected lists of images, annotations and categories, found "
            f"{present[:200] or 'nothing'}"
        )
    return content


def _categories(contents):
    """Id -> name, the same in all files."""
    found: dict[int, str] = {}
    for path, content in contents.items():
        told = {}
        for category in content["categories"]:
            try:
                told[int(category["id"])] = str(category["name"])
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"--annotations={path}: a category without id and name: {str(category)[:60]}"
                ) from error
        if len(set(told.values())) < len(content["categories"]):
            raise InputError(f"--annotations={path}: two categories with one id or name")
        if differing := {n: name for n, name in told.items() if found.get(n, name) != name}:
            raise InputError(
                f"--annotations={path}: calls category {next(iter(differing))} "
                f"{next(iter(differing.values()))!r}, another file {found[next(iter(differing))]!r}"
            )
        found |= told
    if not found:
        raise InputError("--annotations: no categories")
    return found


def _split_of(path, content):
    """The split that a file's name tells (instances_train2017.json), or its images' folder."""
    words = re.split(r"[\s._-]", pathlib.Path(path).name)
    folders = {str(image.get("file_name", "")).split("/")[0] for image in content["images"][:100]}
    folder = folders.pop() if len(folders) == 1 else ""
    parent = pathlib.Path(path).parent.name
    for word in (*words, folder, parent):
        split = split_of_name(re.sub(r"\d+$", "", word))
        if split:
            return split
    raise InputError(
        f"--annotations={path}: neither its name nor its images' folder tells the split; say "
        "--splits"
    )


class _Reader:
    """The images of one file."""

    def __init__(self, path, content, files, number_of, edges, faults):
        self._path, self._files, self._number_of = path, files, number_of
        self._edges, self._faults = edges, faults
        self._images = content["images"]
        self._by_image: dict = {}
        for annotation in content["annotations"]:
            image = annotation.get("image_id") if isinstance(annotation, dict) else None
            self._by_image.setdefault(image, []).append(annotation)

    def items(self, task):
        """Yields the items; faults are told."""
        make = self._with_mask if task == "segmentation" else self._with_boxes
        seen, names = set(), set()
        for image in self._images:
            try:
                image_id, name = image["id"], str(image["file_name"])
                size = int(image["width"]), int(image["height"])
            except (KeyError, TypeError, ValueError):
                self._fault(f"an image without id, file_name, width and height: {str(image)[:60]}")
                continue
            file = self._file(name)
            if image_id in seen or name in names:
                self._fault(f"image {image_id} ({name}) is there twice")
            elif file is None:
                self._fault(f"{name} is not below --source, or there are several of that name")
            elif min(size) < 1:
                self._fault(f"{name}: an image of {size[0]}x{size[1]} pixels")
            else:
                location = make(file, size, name, self._by_image.get(image_id, []))
                yield Item(file.name, -1, file.size, location)
            seen.add(image_id)
            names.add(name)
        for image_id in self._by_image.keys() - seen:
            self._fault(f"annotations of image {image_id}, which it does not name")

    def _fault(self, text):
        self._faults.add(f"{self._path}: {text}")

    def _file(self, name):
        name = name.removeprefix("./")
        return self._files.get(name) or self._files.get(name.rpartition("/")[2])

    def _category(self, annotation, name):
        """The class of an annotation; None where it has a fault, which is told."""
        category = annotation.get("category_id")
        if category not in self._number_of:
            return self._fault(f"{name}: unknown category {category}")
        return self._number_of[category]

    def _with_boxes(self, file, size, name, annotations):
        objects = []
        for annotation in annotations:
            label = self._category(annotation, name)
            box = _pixel_box(annotation.get("bbox"))
            if box is None:
                self._fault(
                    f"{name}: bbox {str(annotation.get('bbox'))[:60]}, expected [x, y, width, "
                    "height] in pixels, none of the latter negative"
                )
            if label is None or box is None:
                continue
            inside, fault = self._edges.inside(box, size)
            if fault:
                self._fault(f"{name}: box {annotation['bbox']} {fault}")
            elif inside is not None:
                objects.append(Object(label, inside, bool(annotation.get("iscrowd"))))
        return ObjectLocation(file.location, size, packed(objects))

    def _with_mask(self, file, size, name, annotations):
        told = []
        for annotation in annotations:
            label = self._category(annotation, name)
            shape = annotation.get("segmentation")
            if label is None:
                continue
            if not isinstance(shape, (list, dict)) or not shape:
                self._fault(f"{name}: an object without segmentation (id {annotation.get('id')})")
            else:
                told.append([label + 1, bool(annotation.get("iscrowd")), shape])
        return MaskLocation(file.location, size, json.dumps(told).encode())


def _pixel_box(bbox):
    """(xmin, ymin, xmax, ymax) in 1-based inclusive pixels; None where the numbers are no box."""
    try:
        x, y, width, height = map(float, bbox)
    except (TypeError, ValueError):
        return None
    if not all(math.isfinite(value) and abs(value) < 1e6 for value in (x, y, width, height)):
        return None
    if width < 0 or height < 0:
        return None
    xmin, ymin = math.floor(x + 0.5) + 1, math.floor(y + 0.5) + 1
    xmax, ymax = math.floor(x + width + 0.5), math.floor(y + height + 0.5)
    # A box narrower than half a pixel is the pixel it lies in.
    return xmin, ymin, max(xmax, xmin), max(ymax, ymin)

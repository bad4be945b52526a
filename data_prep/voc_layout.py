"""Finds the images, lists, annotations and masks of a VOC devkit, packed or not, and sees that they
agree.
"""

import os
import pathlib
from collections.abc import Sequence

from ccssl_tf.runs.errors import InputError
from data_prep import locations
from data_prep.decoding import printable
from data_prep.image_set import ImageSet, Item
from data_prep.voc_annotator import (
    DetectionAnnotator,
    DetectionLocation,
    SegmentationAnnotator,
    SegmentationLocation,
    read_image,
)
from data_prep.voc_xml import CLASSES, parse_annotation

SPLITS = ("train", "val", "trainval", "test")
_SHOWN = 5


def list_images(
    source: str | pathlib.Path,
    *,
    year: int,
    task: str,
    splits: Sequence[str] | None = None,
    sbd: str | pathlib.Path | None = None,
    val_list: str | pathlib.Path | None = None,
) -> ImageSet:
    """Lists one task's images of one year.

    Args:
      source: directory of the devkit's tars, one such tar, or the unpacked tree (`VOCdevkit`, what
        holds it, or `VOC2007` itself).
      year: 2007 or 2012, or any other the devkit was made for.
      task: "detection" (ImageSets/Main: objects and class states) or "segmentation"
        (ImageSets/Segmentation: masks).
      splits: those wanted; by default those that have a list and annotations or masks. None with
        `sbd`.
      sbd: directory of Hariharan's masks: then `train` is its train.txt and `val` the devkit's
        without these images.
      val_list: file of the ids that take the place of the devkit's list `val`.

    Raises:
      InputError: no such devkit, or lists, images, annotations and masks that disagree; the first
        differences are named.
    """
    devkit = _Devkit(pathlib.Path(source), year)
    room = {"detection": "Main", "segmentation": "Segmentation"}[task]
    lists = {split: devkit.read_list(f"ImageSets/{room}/{split}.txt") for split in splits or SPLITS}
    absent = [split for split, ids in lists.items() if ids is None]
    if len(absent) == len(lists) or (splits and absent):
        raise InputError(
            f"{devkit.name}: no ImageSets/{room}/{absent[0]}.txt"
            + (f" (nor {', '.join(absent[1:])})" if absent[1:] else "")
        )
    lists = {split: ids for split, ids in lists.items() if ids is not None}
    if val_list and "val" in lists:
        lists["val"] = _ids(val_list, pathlib.Path(val_list).read_bytes())
    find = dict.fromkeys(SPLITS, devkit.mask if task == "segmentation" else devkit.annotation)
    if sbd:
        lists, find["train"] = _with_sbd(devkit, lists, pathlib.Path(sbd))
    if not splits:
        lists = _annotated(devkit, lists, find)
    _check_disjoint(devkit, lists)
    make = _segmentation_items if task == "segmentation" else _detection_items
    items = {split: make(devkit, split, ids, find[split]) for split, ids in lists.items()}
    annotator = SegmentationAnnotator() if task == "segmentation" else DetectionAnnotator()
    return ImageSet(items, CLASSES, f"voc{year}", read_image, {"task": task}, annotator)


class _Devkit:
    """The files below `VOC<year>/`."""

    def __init__(self, source, year):
        self.name = f"{source}: VOC{year}"
        self.files = _tree_files(source, year) if source.is_dir() else None
        if self.files is None:
            self.files = _tar_files(source, year)
        if not any(name.startswith("ImageSets/") for name in self.files):
            raise InputError(
                f"{source}: holds no VOC{year}/ImageSets, neither a tree nor an uncompressed tar "
                "of it; see --source and --year"
            )

    def image(self, image_id):
        return self.files.get(f"JPEGImages/{image_id}.jpg")

    def annotation(self, image_id):
        return self.files.get(f"Annotations/{image_id}.xml")

    def mask(self, image_id):
        return self.files.get(f"SegmentationClass/{image_id}.png")

    def read(self, name):
        return locations.read_location(self.files[name].location)

    def read_list(self, name):
        """The ids of a list, or None without such a list."""
        return _ids(f"{self.name}/{name}", self.read(name)) if name in self.files else None

    def items_of(self, split, ids, find, what):
        """Yields (id, its image, what `find` found); raises InputError naming those that
        lack one.
        """
        for kind, missing in (
            ("images", [image_id for image_id in ids if self.image(image_id) is None]),
            (what, [image_id for image_id in ids if find(image_id) is None]),
        ):
            if missing:
                raise InputError(
                    f"{self.name}: the list {split} names {len(missing)} {kind} that are not "
                    f"there: {_shown(missing)}; "
                    "complete the source, or name the --splits to convert"
                )
        for image_id in ids:
            yield image_id, self.image(image_id), find(image_id)


def _tree_files(source, year):
    for root in (source, source / f"VOC{year}", source / "VOCdevkit" / f"VOC{year}"):
        if root.resolve().name == f"VOC{year}" and (root / "ImageSets").is_dir():
            return {printable(file.name): file for file in locations.walk_tree(root)}
    return None


def _tar_files(source, year):
    marker, files = f"VOC{year}/".encode(), {}
    for path in sorted(source.glob("*.tar")) if source.is_dir() else [source]:
        for file in locations.tar_members(path):
            before, separator, name = file.name.partition(marker)
            if not separator or (before and not before.endswith(b"/")):
                continue
            # The tars of one year share directories, not files; where they do, they must be the
            # same.
            other = files.setdefault(printable(name), file)
            if other.size != file.size or (other is not file and _bytes(other) != _bytes(file)):
                raise InputError(
                    f"{source}: two different files {printable(file.name)}, one in {path.name}; "
                    "keep one tar of each kind"
                )
    return files


def _bytes(file):
    return locations.read_location(file.location)


def _ids(name, data):
    ids = [line.split()[0].decode("utf-8", "replace") for line in data.splitlines() if line.strip()]
    if not ids or len(set(ids)) < len(ids):
        twice = next((image_id for image_id in ids if ids.count(image_id) > 1), None)
        raise InputError(
            f"{name}: "
            + (f"names {twice} twice" if ids else "names no images")
            + "; fetch it again"
        )
    return ids


def _shown(ids):
    return ", ".join(ids[:_SHOWN]) + (" ..." if len(ids) > _SHOWN else "")


def _annotated(devkit, lists, find):
    """Leaves out the splits published without any, such as the test images of VOC2012."""
    kept = {split: ids for split, ids in lists.items() if any(map(find[split], ids))}
    if left_out := sorted(set(lists) - set(kept)):
        print(f"{devkit.name}: leaving out {', '.join(left_out)}: neither annotations nor masks")
    if not kept:
        raise InputError(
            f"{devkit.name}: none of the lists' images has an annotation or mask; complete the "
            "source"
        )
    return kept


def _check_disjoint(devkit, lists):
    for one, other in (("train", "val"), ("train", "test"), ("val", "test"), ("trainval", "test")):
        if both := sorted(set(lists.get(one, ())) & set(lists.get(other, ()))):
            raise InputError(
                f"{devkit.name}: {len(both)} images are in {one} and in {other}: {_shown(both)}; "
                "fetch the lists again"
            )


def _detection_items(devkit, split, ids, find):
    presence = _presence(devkit, split, ids)
    items, differing = [], []
    for image_id, image, file in devkit.items_of(split, ids, find, "annotations"):
        annotation = parse_annotation(_bytes(file), f"{devkit.name}/Annotations/{image_id}.xml")
        if _presence_of(annotation) != presence[image_id]:
            differing.append(image_id)
        items.append(
            _item(
                image_id, image, DetectionLocation(image.location, annotation, presence[image_id])
            )
        )
    if differing:
        print(
            f"{devkit.name}: {split}: class lists and annotations differ for {len(differing)} "
            f"images, both are kept: {_shown(differing)}"
        )
    return items


def _presence(devkit, split, ids):
    """Id -> the state of every class, from the class lists."""
    columns = []
    for name in CLASSES:
        path = f"ImageSets/Main/{name}_{split}.txt"
        if path not in devkit.files:
            raise InputError(
                f"{devkit.name}: no {path}; the class lists say which images hold a {name}"
            )
        states = {}
        for number, line in enumerate(devkit.read(path).decode("utf-8", "replace").splitlines(), 1):
            image_id, _, state = line.strip().partition(" ")
            if image_id and (state.strip() not in ("1", "0", "-1") or image_id in states):
                why = "comes twice" if image_id in states else "expected an image and 1, 0 or -1"
                raise InputError(
                    f"{devkit.name}/{path}, line {number}: {line.strip()[:60]!r}: {why}; fetch it "
                    "again"
                )
            if image_id:
                states[image_id] = int(state)
        if differing := sorted(set(ids) ^ set(states)):
            raise InputError(
                f"{devkit.name}/{path}: {len(differing)} images are in it or in {split}.txt, not "
                f"in both: {_shown(differing)}"
            )
        columns.append([states[image_id] for image_id in ids])
    return dict(zip(ids, zip(*columns, strict=True), strict=True))


def _presence_of(annotation):
    """The states the devkit derives from the objects: 1 for one that is not difficult, 0 for
    difficult ones alone, else -1.
    """
    states = [-1] * len(CLASSES)
    for one in annotation.objects:
        states[one.label] = max(states[one.label], 0 if one.difficult else 1)
    return tuple(states)


def _segmentation_items(devkit, split, ids, find):
    return [
        _item(
            image_id,
            image,
            SegmentationLocation(
                image.location, mask.location, os.path.basename(printable(mask.name))
            ),
        )
        for image_id, image, mask in devkit.items_of(split, ids, find, "masks")
    ]


def _item(image_id, image, location):
    return Item(f"{image_id}.jpg".encode(), -1, image.size, location)


def _with_sbd(devkit, lists, sbd):
    """(SBD's train.txt as `train` and the devkit's `val` without it, what finds the masks of
    `train`).
    """
    root = next(
        (
            path
            for path in (sbd, sbd / "dataset", sbd / "benchmark_RELEASE" / "dataset")
            if (path / "cls").is_dir()
        ),
        None,
    )
    if root is None or not (root / "train.txt").is_file():
        raise InputError(
            f"--sbd={sbd}: holds no cls/ with a train.txt beside it; name the unpacked benchmark's "
            "dataset directory"
        )
    masks = {printable(file.name): file for file in locations.walk_tree(root / "cls")}
    train = _ids(root / "train.txt", (root / "train.txt").read_bytes())
    known = set(train)
    val = [image_id for image_id in lists.get("val", ()) if image_id not in known]
    if not val:
        raise InputError(
            f"{devkit.name}: its list val is missing or wholly in {root / 'train.txt'}: nothing is "
            "left to evaluate on"
        )
    print(
        f"{root}: {len(train)} train masks; {len(lists['val']) - len(val)} of them are in VOC's "
        "val and left out there"
    )
    return {"train": train, "val": val}, lambda image_id: masks.get(f"{image_id}.mat")

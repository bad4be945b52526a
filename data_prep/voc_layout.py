"""Lists the images of a VOC source with their boxes or masks, and sees that lists, images,
annotations and masks agree.
"""

import functools
import io
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Sequence

from PIL import Image

from ccssl_tf.runs.errors import InputError
from data_prep import locations, voc_classes
from data_prep.decoding import BadImage, printable
from data_prep.faults import Faults
from data_prep.image_set import ImageSet, Item
from data_prep.locations import SourceFile
from data_prep.mask_annotator import SegmentationAnnotator, SegmentationLocation
from data_prep.mask_values import MaskColors, read_png_mask
from data_prep.object_annotator import (
    BoxEdges,
    Object,
    ObjectAnnotator,
    ObjectLocation,
    packed,
    presence_of,
    read_image,
)
from data_prep.text_lines import lines_of
from data_prep.voc_files import SPLITS, VocFiles, find_files, read_ids, without_suffix
from data_prep.voc_xml import Annotation, AnnotationReader

_SHOWN = 5
# Masks that are looked at before anything is converted.
_CHECKED_MASKS = 20
Finder = Callable[[str], SourceFile | None]


def list_images(
    source: str | pathlib.Path,
    *,
    year: int,
    task: str,
    splits: Sequence[str] | None = None,
    sbd: str | pathlib.Path | None = None,
    val_list: str | pathlib.Path | None = None,
    classes: list[str] | None = None,
    clip_boxes: bool = False,
    trust_mask_indices: bool = False,
) -> ImageSet:
    """Lists one task's images of one year, or of a source that some tool wrote in VOC's manner.

    Args:
      source: see `voc_files.find_files`.
      year: 2007 or 2012, or any other the devkit was made for.
      task: "detection" (ImageSets/Main: objects and class states) or "segmentation"
        (ImageSets/Segmentation: masks).
      splits: those wanted; by default those that have a list and annotations or masks. None with
        `sbd`.
      sbd: directory of Hariharan's masks: then `train` is its train.txt and `val` the devkit's
        without these images.
      val_list: file of the ids that take the place of the devkit's list `val`.
      classes: names of the classes in the order of their numbers; by default see
        `voc_classes.object_classes` and `voc_classes.mask_classes`.
      clip_boxes: see `AnnotationReader`.
      trust_mask_indices: see `MaskColors`.

    Raises:
      InputError: no such source, or lists, images, annotations and masks that disagree; the first
        20 faults are told, and how many there are.
    """
    files = find_files(source, year)
    faults = Faults(files.name)
    lists = _lists(files, task, splits)
    if val_list and "val" in lists:
        lists["val"] = read_ids(str(val_list), pathlib.Path(val_list).read_bytes(), files.images)
    of_task = files.masks if task == "segmentation" else files.annotations
    find: dict[str, Finder] = dict.fromkeys(SPLITS, of_task.get)
    if sbd:
        lists, find["train"] = _with_sbd(files, lists, pathlib.Path(sbd))
    if not splits:
        lists = _annotated(files, lists, find)
    _check_disjoint(files, lists)
    for split, ids in lists.items():
        what = "masks" if task == "segmentation" else "annotations"
        _check_there(split, ids, {"images": files.images.get, what: find[split]}, faults)
    if task == "segmentation":
        names, annotator = _masks(files, lists, find, classes, trust_mask_indices, faults)
        make = _segmentation_location
    else:
        edges = BoxEdges(clip_boxes)
        names, make = _objects(files, lists, classes, AnnotationReader(faults, edges))
        annotator = ObjectAnnotator(tuple(names))
        if edges.describe():
            print(f"{files.name}: {edges.describe()}")
    faults.refuse("mend the source, or name the --splits to convert")
    items = {
        split: [
            _item(files.images[one], make(split, one, files.images[one], find[split](one)))
            for one in ids
        ]
        for split, ids in lists.items()
    }
    return ImageSet(items, names, f"voc{year}", read_image, {"task": task}, annotator)


def _lists(files: VocFiles, task: str, splits: Sequence[str] | None) -> dict[str, list[str]]:
    """Split -> ids, of the splits wanted."""
    room = {"detection": "Main", "segmentation": "Segmentation"}[task]
    paths = files.split_lists(room)
    lists = {split: files.ids(paths[split]) for split in splits or SPLITS if split in paths}
    if files.folders is not None:
        if task == "segmentation":
            raise InputError(f"{files.name}: images and .xml files alone; there are no masks")
        folders = files.folders
        lists = {split: folders[split] for split in splits or SPLITS if split in folders}
    absent = [split for split in splits or SPLITS if split not in lists]
    if not lists or (splits and absent):
        raise InputError(
            f"{files.name}: no ImageSets/{room}/{absent[0]}.txt"
            + (f" (nor {', '.join(absent[1:])})" if absent[1:] else "")
        )
    return lists


def _annotated(files, lists, find):
    """Leaves out the splits published without any, such as the test images of VOC2012."""
    kept = {split: ids for split, ids in lists.items() if any(map(find[split], ids))}
    if left_out := sorted(set(lists) - set(kept)):
        print(f"{files.name}: leaving out {', '.join(left_out)}: neither annotations nor masks")
    if not kept:
        raise InputError(
            f"{files.name}: none of the lists' images has an annotation or mask; complete the "
            "source"
        )
    return kept


def _check_disjoint(files, lists):
    for one, other in (("train", "val"), ("train", "test"), ("val", "test"), ("trainval", "test")):
        if both := sorted(set(lists.get(one, ())) & set(lists.get(other, ()))):
            raise InputError(
                f"{files.name}: {len(both)} images are in {one} and in {other}: {_shown(both)}; "
                "fetch the lists again"
            )


def _check_there(split, ids, finders, faults):
    for kind, find in finders.items():
        if missing := [one for one in ids if find(one) is None]:
            faults.add(
                f"the list {split} names {len(missing)} {kind} that are not there: "
                f"{_shown(missing)}"
            )


def _shown(ids):
    return ", ".join(ids[:_SHOWN]) + (" ..." if len(ids) > _SHOWN else "")


def _objects(files, lists, given, reader):
    """(Class names, what makes the location of an image); faults go to the reader's."""
    annotations: dict[str, Annotation | None] = {}
    for one in dict.fromkeys(one for ids in lists.values() for one in ids):
        file, image = files.annotations.get(one), files.images.get(one)
        if file is not None:
            annotations[one] = reader.read(
                locations.read_location(file.location),
                printable(file.name),
                functools.partial(_picture_size, image),
            )
    known = {one: annotation for one, annotation in annotations.items() if annotation}
    used = Counter(thing.name for annotation in known.values() for thing in annotation.objects)
    listed = {split: files.class_lists(split) for split in lists}
    all_listed = set().union(*listed.values())
    names = voc_classes.object_classes(files.name, used, all_listed, given, reader.faults)
    numbers = {name: number for number, name in enumerate(names)}
    presence = {
        split: _presence(files, split, ids, names, listed[split], reader.faults)
        for split, ids in lists.items()
    }
    without = [split for split, states in presence.items() if states is None]
    if without and not reader.faults.count:
        print(
            f"{files.name}: no lists of these classes for {', '.join(without)}; the annotations "
            "tell which images hold them"
        )
    objects = {
        one: [Object(numbers.get(thing.name, 0), *thing[1:]) for thing in annotation.objects]
        for one, annotation in known.items()
    }
    for split, ids in lists.items():
        differing = [
            one
            for one in ids
            if presence[split] and one in objects
            if presence_of(objects[one], len(names)) != presence[split].get(one)
        ]
        if differing and not reader.faults.count:
            print(
                f"{files.name}: {split}: class lists and annotations differ for {len(differing)} "
                f"images, both are kept: {_shown(differing)}"
            )

    def make(split, one, image, unused_file):
        states = presence[split] and presence[split][one]
        size = known[one].width, known[one].height
        return ObjectLocation(image.location, size, packed(objects[one]), states)

    return names, make


def _picture_size(file):
    """(Width, height) in pixels; None where it is no picture."""
    if file is None:
        return None
    try:
        with Image.open(io.BytesIO(locations.read_location(file.location))) as image:
            return image.size
    except Exception:  # Decoders raise anything on hostile bytes.
        return None


def _presence(files, split, ids, names, listed, faults):
    """Id -> the state of every class, from the class lists; None where there are none of these
    classes.
    """
    if not set(listed) & set(names):
        return None
    columns = []
    for name in names:
        if name not in listed:
            faults.add(
                f"no ImageSets/Main/{name}_{split}.txt; the class lists say which images hold a "
                f"{name}"
            )
            continue
        path, states = listed[name], {}
        for number, raw in enumerate(lines_of(locations.read_location(files.lists[path].location))):
            line = raw.decode("utf-8", "replace").strip()
            if not line:
                continue
            image_id, _, state = line.rpartition(" ")
            image_id = without_suffix(image_id.strip())
            if state not in ("1", "0", "-1") or image_id in states:
                why = "comes twice" if image_id in states else "expected an image and 1, 0 or -1"
                faults.add(f"{path}, line {number + 1}: {line[:60]!r}: {why}")
            else:
                states[image_id] = int(state)
        if differing := sorted(set(ids) ^ set(states)):
            faults.add(
                f"{path}: {len(differing)} images are in it or in {split}.txt, not in both: "
                f"{_shown(differing)}"
            )
        columns.append([states.get(one, -1) for one in ids])
    if len(columns) < len(names):
        return None
    return dict(zip(ids, zip(*columns, strict=True), strict=True))


def _masks(files, lists, find, given, trusts_indices, faults):
    """(Class names, annotator), after a look at the first masks."""
    label_map = files.label_map and locations.read_location(files.label_map.location)
    names, table = voc_classes.mask_classes(files.name, label_map, given)
    colors = MaskColors(len(names), table, trusts_indices)
    told_by_colors = 0
    for split, ids in lists.items():
        masks = [mask for mask in map(find[split], ids) if mask is not None]
        for mask in masks[:_CHECKED_MASKS]:
            if not mask.name.endswith(b".mat"):
                try:
                    data = locations.read_location(mask.location)
                    told_by_colors += read_png_mask(data, colors)[1]
                except BadImage as error:
                    faults.add(f"{printable(mask.name)}: {error}")
    if told_by_colors:
        print(
            f"{files.name}: the colours of its masks tell the classes, their numbers are others "
            f"({told_by_colors} of the first masks)"
        )
    return names, SegmentationAnnotator(colors)


def _segmentation_location(unused_split, unused_id, image, mask):
    name = os.path.basename(printable(mask.name))
    return SegmentationLocation(image.location, mask.location, name)


def _item(image, location):
    name = image.name.rpartition(b"JPEGImages/")[2]
    return Item(name, -1, image.size, location)


def _with_sbd(files, lists, sbd):
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
    train = read_ids(str(root / "train.txt"), (root / "train.txt").read_bytes(), files.images)
    known = set(train)
    val = [image_id for image_id in lists.get("val", ()) if image_id not in known]
    if not val:
        raise InputError(
            f"{files.name}: its list val is missing or wholly in {root / 'train.txt'}: nothing is "
            "left to evaluate on"
        )
    print(
        f"{root}: {len(train)} train masks; {len(lists['val']) - len(val)} of them are in VOC's "
        "val and left out there"
    )
    return {"train": train, "val": val}, lambda image_id: masks.get(f"{image_id}.mat")

"""Finds the images of Places205 and Places365 and their labels, in the published lists and tars or
in unpacked trees.

Labels are those of the lists; their names are the classes' paths without the leading letter
(`church/outdoor`). Both forms of a source give the same records.
"""

import dataclasses
import pathlib
from typing import NamedTuple

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.progress import Progress
from data_prep import locations
from data_prep.decoding import printable
from data_prep.image_set import ImageSet, Item
from data_prep.text_lines import read_lines

_LISTED_DIFFERENCES = 10


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one Places is published.

    Attributes:
      folders: where the lists may lie, relative to the source.
      lists: split -> its list.
      classes: the table of classes.
      images: what may hold the images of which splits: groups of names of tars or folders, one of
        each group is read.
    """

    folders: tuple[str, ...]
    lists: dict[str, str]
    classes: str
    images: dict[tuple[str, ...], tuple[str, ...]]


LAYOUTS = {
    "places205": Layout(
        folders=("", "trainvalsplit_places205"),
        lists={"train": "train_places205.csv", "val": "val_places205.csv"},
        classes="categoryIndex_places205.csv",
        images={
            ("train", "val"): (
                "imagesPlaces205_resize.tar",
                "imagesPlaces205_resize",
                "data",
                "images256",
            )
        },
    ),
    "places365": Layout(
        folders=("", "filelist_places365-standard"),
        lists={"train": "places365_train_standard.txt", "val": "places365_val.txt"},
        classes="categories_places365.txt",
        images={
            ("train",): (
                *(
                    "train_256_places365standard.tar",
                    "data_256_standard.tar",
                    "data_256_standard",
                    "data_256",
                ),
                *("train_large_places365standard.tar", "data_large_standard", "data_large"),
            ),
            ("val",): ("val_256.tar", "val_256", "val_large.tar", "val_large"),
        },
    ),
}


class _Listed(NamedTuple):
    """What a list says of one image."""

    split: str
    label: int


def list_images(
    source: str | pathlib.Path, *, layout: str = "auto", skip_unlisted: bool = False
) -> ImageSet:
    """Lists Places205 or Places365.

    Args:
      source: directory.
      layout: a key of `LAYOUTS`, or "auto": the one whose training list is there.
      skip_unlisted: whether images that no list names are left out; otherwise they are refused.

    Raises:
      InputError: lists that are malformed, or disagree with each other, with the table of classes
        or with the files.
    """
    source = pathlib.Path(source)
    if not source.is_dir():
        raise InputError(
            f"--source={source}: name the directory that holds the lists and the tars or trees"
        )
    name = _find_layout(source) if layout == "auto" else layout
    layout = LAYOUTS[name]
    roots = _image_roots(source, layout)
    listed, splits = {}, {}
    for split, list_name in layout.lists.items():
        path = _find(source, layout, list_name)
        if path and split in roots:
            _read_list(path, split, listed)
            splits[split] = []
        elif split == "train":
            raise InputError(f"{source}: no {list_name}, the list of the training images; add it")
        else:
            print(
                f"{source}: no {'images for ' if path else ''}{list_name}, converting the training "
                "images alone"
            )
    class_names = _class_names(source, layout, listed)
    unlisted = _match({split: roots[split] for split in splits}, listed, splits)
    _refuse_differences(source, listed, [] if skip_unlisted else unlisted)
    if unlisted:
        print(
            f"{source}: leaving out {len(unlisted)} images that no list names (the first: "
            f"{unlisted[0]})"
        )
    return ImageSet(splits, class_names, name, locations.read_location)


def _find(source, layout, name):
    return next(
        (path for path in (source / folder / name for folder in layout.folders) if path.is_file()),
        None,
    )


def _find_layout(source):
    present = [
        name for name, layout in LAYOUTS.items() if _find(source, layout, layout.lists["train"])
    ]
    if len(present) == 1:
        return present[0]
    if present:
        raise InputError(f"{source}: holds the lists of {' and '.join(present)}; say --layout")
    wanted = " or ".join(layout.lists["train"] for layout in LAYOUTS.values())
    raise InputError(f"{source}: holds no {wanted}; add the published list")


def _image_roots(source, layout):
    """Split -> the tar or tree its images are in; without the splits that have none."""
    roots = {}
    for splits, names in layout.images.items():
        if path := next((source / name for name in names if (source / name).exists()), None):
            roots |= dict.fromkeys(splits, path)
        elif "train" in splits:
            packed = next(
                (f"{name}.gz" for name in names if (source / f"{name}.gz").exists()), None
            )
            hint = (
                f"decompress {packed} first (gunzip)"
                if packed
                else f"expected {' or '.join(names)}"
            )
            raise InputError(f"{source}: no training images; {hint}")
    return roots


def _read_list(path, split, listed):
    """Adds the lines `path label` of a list to `listed`."""
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        name, _, label = line.rstrip().rpartition(b" ")
        name = name.strip().lstrip(b"/")
        if not name or not label.isdigit():
            raise InputError(
                f"{path}: line {number}: expected `path label`, found "
                f"{printable(line.strip())[:80]!r}"
            )
        if name in listed:
            raise InputError(
                f"{path}: line {number}: {printable(name)} is listed twice (before: in "
                f"{listed[name].split})"
            )
        listed[name] = _Listed(split, int(label))


def _class_names(source, layout, listed):
    """The names of the labels, from the paths of the training images; the table of classes, where
    it is there, must say the same.
    """
    names = {}
    for path, (split, label) in listed.items():
        if split == "train":
            folder = path.rpartition(b"/")[0]
            if names.setdefault(label, folder) != folder:
                raise InputError(
                    f"{source}: label {label} stands for both {printable(names[label])} and "
                    f"{printable(folder)} in the lists"
                )
    if table := _find(source, layout, layout.classes):
        published = {}
        _read_list(table, "classes", published)
        published = {label: name for name, (_, label) in published.items()}
        wrong = next(
            (label for label in sorted(names) if published.get(label) != names[label]), None
        )
        if wrong is not None:
            there = printable(published[wrong]) if wrong in published else "not there"
            raise InputError(
                f"{table}: label {wrong} is {there}, in the list of training images it is "
                f"{printable(names[wrong])}"
            )
        names = published
    absent = sorted({label for _, label in listed.values()} - names.keys())
    if absent:
        raise InputError(
            f"{source}: labels without training images or an entry in {layout.classes}: "
            f"{', '.join(map(str, absent[:5]))}"
        )
    if sorted(names) != list(range(len(names))) or len(set(names.values())) != len(names):
        raise InputError(
            f"{source}: the {len(names)} classes are not numbered 0 to {len(names) - 1}, each once"
        )
    return [
        printable(names[label].partition(b"/")[2] or names[label]) for label in range(len(names))
    ]


def _match(roots, listed, splits):
    """Moves what is found from `listed` to `splits`, each in the order of the names; returns the
    names of unlisted images.
    """
    unlisted, total = [], len(listed)
    progress = Progress(
        "indexing " + ", ".join(sorted({root.name for root in roots.values()})), total, "images"
    )
    for root in dict.fromkeys(roots.values()):
        prefix = None
        for file in locations.walk_tree(root) if root.is_dir() else locations.tar_members(root):
            if not locations.is_image_name(file.name):
                continue
            if prefix is None or not file.name.startswith(prefix):
                prefix = _prefix(file.name, listed)
            name = None if prefix is None else file.name[len(prefix) :]
            if name not in listed:
                unlisted.append(f"{root.name}: {printable(file.name)}")
                continue
            split, label = listed.pop(name)
            splits[split].append(Item(name, label, file.size, file.location))
            if listed:
                progress.update(total - len(listed))
    for items in splits.values():
        items.sort()
    return unlisted


def _prefix(name, listed):
    """What stands before the listed name in a file's; None if no end of it is listed."""
    parts = name.split(b"/")
    return next(
        (
            b"".join(part + b"/" for part in parts[:k])
            for k in range(len(parts))
            if b"/".join(parts[k:]) in listed
        ),
        None,
    )


def _refuse_differences(source, listed, unlisted):
    if not listed and not unlisted:
        return
    said = []
    for kind, names in (
        ("listed but missing", sorted(map(printable, listed))),
        ("there but not listed", sorted(unlisted)),
    ):
        if names:
            more = (
                f" and {len(names) - _LISTED_DIFFERENCES} more"
                if len(names) > _LISTED_DIFFERENCES
                else ""
            )
            said.append(f"{len(names)} {kind}: {', '.join(names[:_LISTED_DIFFERENCES])}{more}")
    advice = "; mend the source" + (", or say --skip_unlisted" if unlisted and not listed else "")
    raise InputError(f"{source}: the lists and the images disagree: {'; '.join(said)}{advice}")

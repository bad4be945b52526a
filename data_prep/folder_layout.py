"""Finds images, splits and classes in any folder or tar of images."""

import dataclasses
import pathlib
from collections import Counter

import numpy as np

from ccssl_tf.runs.errors import InputError
from data_prep import file_list, locations
from data_prep.decoding import printable
from data_prep.image_set import ImageSet, Item

_SPLIT_FOLDERS = {
    b"train": "train",
    b"val": "val",
    b"validation": "val",
    b"valid": "val",
    b"test": "test",
}


@dataclasses.dataclass(frozen=True)
class _Image:
    """A file, and its name's parts below the split's folder."""

    file: locations.SourceFile
    parts: list[bytes]


def list_images(
    source: str | pathlib.Path,
    *,
    labels: str,
    val_fraction: float,
    classes: list[str] | None,
    seed: int,
    list_path: str | pathlib.Path | None = None,
) -> ImageSet:
    """Lists the images of a folder or of an uncompressed tar.

    Where all images lie below `train/`, `val/` and `test/`, these are the splits; else, or without
    `val/`, a seeded choice becomes `val`.

    Args:
      source: directory or tar.
      labels: "folders": the first folder (below the split's) is the class; "none"; "auto": folders,
        if every image lies in one and there are two or more, unless the list tells the labels.
      val_fraction: share of the training images, in [0, 1), that becomes `val` when the source has
        none.
      classes: class names in order; the sorted folders by default.
      seed: of the choice.
      list_path: see `file_list.read_list`; only the images it names are taken, whatever their
        suffix.

    Raises:
      InputError: no images, a list that names others, an unknown or empty class, or too few images
        to split.
    """
    source = pathlib.Path(source)
    files = locations.walk_tree(source) if source.is_dir() else locations.tar_members(source)
    listed = None
    if list_path is None:
        files = _images_among(source, files)
    else:
        by_name = {file.name: file for file in files}
        listed = file_list.read_list(list_path, by_name.keys())
        files = [by_name[name] for name in listed]
        print(f"{source}: taking the {len(files)} images of {list_path}, of {len(by_name)} files")
    files.sort()
    splits = _existing_splits(source, files)
    if labels == "auto" and listed and None not in listed.values():
        class_names, number_of = file_list.number_labels(listed, classes)
        numbers = {name: number_of[label] for name, label in listed.items()}
    else:
        class_names = _class_names(source, splits, labels, classes)
        label_of = {name: label for label, name in enumerate(class_names or [])}
        numbers = {
            image.file.name: label_of[_class_of(image)] if class_names else -1
            for images in splits.values()
            for image in images
        }
    items = {
        split: [
            Item(image.file.name, numbers[image.file.name], image.file.size, image.file.location)
            for image in images
        ]
        for split, images in splits.items()
    }
    if "val" not in items and val_fraction > 0:
        items = _with_val(source, items, val_fraction, seed)
    return ImageSet(items, class_names, "image_folder", locations.read_location)


def _images_among(source, files):
    images, ignored = [], Counter()
    for file in files:
        if locations.is_image_name(file.name):
            images.append(file)
        else:
            ignored[pathlib.PurePosixPath(printable(file.name)).suffix or "no suffix"] += 1
    if ignored:
        common = ", ".join(f"{suffix} {count}" for suffix, count in ignored.most_common(5))
        print(f"{source}: ignoring {ignored.total()} files that are no images ({common})")
    if not images:
        raise InputError(
            f"{source}: holds no images "
            f"({', '.join(suffix.decode() for suffix in locations.IMAGE_SUFFIXES)})"
        )
    return images


def _existing_splits(source, files):
    """Split name -> images, from the top folders if these are splits, else all `train`."""
    images = [_Image(file, file.name.split(b"/")) for file in files]
    top = {image.parts[0] if len(image.parts) > 1 else b"" for image in images}
    if b"train" not in top or not top <= _SPLIT_FOLDERS.keys():
        return {"train": images}
    splits = {}
    for folder in sorted(top, key=list(_SPLIT_FOLDERS).index):
        if _SPLIT_FOLDERS[folder] in splits:
            raise InputError(
                f"{source}: two folders for the split {_SPLIT_FOLDERS[folder]!r}, one of them "
                f"{folder.decode()}/; keep one"
            )
        inside = [
            _Image(image.file, image.parts[1:]) for image in images if image.parts[0] == folder
        ]
        splits[_SPLIT_FOLDERS[folder]] = inside
    return splits


def _class_of(image):
    return printable(image.parts[0])


def _class_names(source, splits, labels, classes):
    images = [image for split in splits.values() for image in split]
    outside = next((image for image in images if len(image.parts) < 2), None)
    folders = sorted({_class_of(image) for image in images if len(image.parts) > 1})
    if labels == "none" or (
        labels == "auto" and classes is None and (outside is not None or len(folders) < 2)
    ):
        return None
    if outside is not None:
        raise InputError(
            f"{source}: {printable(outside.file.name)} lies in no class folder; move it into one, "
            "or say --labels=none"
        )
    if classes is not None:
        unknown = sorted(set(folders) - set(classes))
        if unknown:
            raise InputError(
                f"{source}: unknown classes, not in the --classes file: {', '.join(unknown[:5])} "
                f"({len(unknown)} in all)"
            )
    elif "train" in splits:
        unseen = sorted(set(folders) - {_class_of(image) for image in splits["train"]})
        if unseen:
            raise InputError(
                f"{source}: classes without training images: {', '.join(unseen[:5])}; say "
                "--labels=none to go without labels"
            )
    empty = sorted(_folders_on_disk(source, splits) - set(folders))
    if empty:
        print(
            f"{source}: folders without images are no classes: "
            f"{', '.join(empty[:5])}{' ...' if len(empty) > 5 else ''}"
        )
    return classes or folders


def _folders_on_disk(source, splits):
    if not source.is_dir() or len(splits) > 1:
        return set()
    return {
        path.name for path in source.iterdir() if path.is_dir() and not path.name.startswith(".")
    }


def _with_val(source, items, val_fraction, seed):
    train = items["train"]
    count = max(1, round(val_fraction * len(train)))
    if count >= len(train):
        raise InputError(
            f"{source}: {len(train)} image(s) are too few for --val_fraction={val_fraction}; set "
            "it to 0"
        )
    chosen = set(np.random.default_rng(seed).permutation(len(train))[:count].tolist())
    split = {
        "train": [item for i, item in enumerate(train) if i not in chosen],
        "val": [train[i] for i in sorted(chosen)],
    }
    return {**split, **{name: rest for name, rest in items.items() if name != "train"}}


def read_classes(path: str | pathlib.Path) -> list[str]:
    """Reads class names, one a line; raises InputError where there are none or one comes twice."""
    try:
        names = [
            line.strip()
            for line in pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines()
            if line.strip()
        ]
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
        raise InputError(
            f"--classes={path}: not a readable list of class names ({error})"
        ) from error
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if not names or twice:
        raise InputError(
            f"--classes={path}: " + (f"{twice!r} comes twice" if twice else "holds no class names")
        )
    return names

"""Finds images, splits and classes in any folder or tar of images."""

import dataclasses
import os
import pathlib
from collections import Counter

from ccssl_tf.runs.errors import InputError
from data_prep import file_list, held_out, locations
from data_prep.decoding import printable
from data_prep.faults import shown
from data_prep.image_set import ImageSet, Item
from data_prep.split_names import split_of_name

_ORDER = ("train", "val", "trainval", "test", "unlabeled")


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
    label_column: str | None = None,
    split_folders: str = "auto",
) -> ImageSet:
    """Lists the images of a folder or of an uncompressed tar.

    Splits are those of the list's column, else the top folders that are called like splits
    (`split_names`): then what lies beside these is left out, and said. Without `val` a seeded
    choice becomes it.

    Args:
      source: directory or tar.
      labels: "folders": the first folder (below the split's) is the class; "none"; "auto": folders,
        if every training image lies in one and there are two or more, unless the list tells the
        labels. Then other splits whose images lie in none, and a test split that has none of the
        classes, are unlabelled.
      val_fraction: share of the training images, in [0, 1), that becomes `val` when the source has
        none.
      classes: class names in order; the sorted folders by default.
      seed: of the choice.
      list_path: see `file_list.read_list`; only the images it names are taken, whatever their
        suffix.
      label_column: of the list; None: of a usual name.
      split_folders: "auto", "yes": top folders called like splits are splits, and without one for
        training the others are that; "no": they are like any other.

    Raises:
      InputError: no images, a list that names others, a folder that may be a split or a class, an
        unknown or empty class, or too few images to split.
    """
    source = pathlib.Path(source)
    files, listed = _listed_files(source, list_path, label_column)
    files.sort()
    splits = _existing_splits(source, files, split_folders)
    if listed and listed.splits:
        splits = _listed_splits(source, files, splits, listed.splits, list_path)
    if labels == "auto" and listed and None not in listed.labels.values():
        class_names, number_of = file_list.number_labels(listed.labels, classes)
        numbers = {name: number_of[label] for name, label in listed.labels.items()}
    else:
        class_names, numbers = _folder_labels(source, splits, labels, classes)
    items = {
        split: [
            Item(image.file.name, numbers[image.file.name], image.file.size, image.file.location)
            for image in images
        ]
        for split, images in splits.items()
    }
    image_set = ImageSet(items, class_names, "image_folder", locations.read_location)
    return held_out.with_val(source, image_set, val_fraction, seed)


def _listed_files(source, list_path, label_column):
    """(Files, what the list says of them or None)."""
    skipped = locations.SkippedFolders.nothing()
    if source.is_dir():
        files = locations.walk_tree(source, skipped, skips_dangling=True)
    else:
        files = locations.tar_members(source)
    if list_path is None:
        files = _images_among(source, files, skipped)
        listed = None
    else:
        by_name = {file.name: file for file in files}
        listed = file_list.read_list(list_path, by_name.keys(), label_column)
        files = [by_name[name] for name in listed.labels]
        print(f"{source}: taking the {len(files)} images of {list_path}, of {len(by_name)} files")
    for line in skipped.describe():
        print(f"{source}: {line}")
    return files, listed


def _images_among(source, files, skipped):
    images, ignored, tar = [], Counter(), None
    folders = {}
    for file in files:
        if locations.is_image_name(file.name):
            images.append(file)
        elif (folder := locations.system_folder(file.name)) is not None:
            # Of a tar; a walk does not look into them.
            before = file.name[: file.name.index(folder) + len(folder)]
            folders[before] = folder
        else:
            path = pathlib.PurePosixPath(printable(file.name))
            ignored["hidden" if path.name.startswith(".") else path.suffix or "no suffix"] += 1
            tar = path if path.suffix == ".tar" else tar
    skipped.system.update(folders.values())
    if ignored:
        common = ", ".join(f"{suffix} {count}" for suffix, count in ignored.most_common(5))
        common += ", ..." if len(ignored) > 5 else ""
        print(f"{source}: ignoring {ignored.total()} files that are no images ({common})")
    if not images:
        suffixes = ", ".join(suffix.decode() for suffix in locations.IMAGE_SUFFIXES)
        raise InputError(f"{source}: holds no images ({suffixes}){_advice(source, ignored, tar)}")
    return images


def _advice(source, ignored, tar):
    """What may be meant by a source without images, from the suffixes of what is there."""
    if tar and source.is_dir():
        return f"; an archive is named itself: --source={source / tar}"
    packed = [suffix for suffix in (".zip", ".gz", ".tgz", ".7z", ".rar") if ignored[suffix]]
    return f"; unpack the {packed[0]} first" if packed else ""


def _existing_splits(source, files, split_folders):
    """Split name -> images, from the top folders if these are splits, else all `train`."""
    images = [_Image(file, file.name.split(b"/")) for file in files]
    top = {image.parts[0] for image in images if len(image.parts) > 1}
    split_of = {folder: split_of_name(printable(folder)) for folder in sorted(top)}
    split_of = {folder: split for folder, split in split_of.items() if split}
    others = [image for image in images if len(image.parts) < 2 or image.parts[0] not in split_of]
    if not split_of or not _are_splits(source, images, split_of, others, split_folders):
        return {"train": images}
    splits: dict[str, list[_Image]] = {}
    for folder, split in sorted(split_of.items(), key=lambda item: _ORDER.index(item[1])):
        if split in splits:
            raise InputError(
                f"{source}: two folders for the split {split!r}, one of them "
                f"{printable(folder)}/; keep one"
            )
        splits[split] = [
            _Image(image.file, image.parts[1:])
            for image in images
            if len(image.parts) > 1 and image.parts[0] == folder
        ]
    if others and not {"train", "trainval"} & splits.keys():
        splits = {"train": others} | splits
        others = []
    folders = [printable(folder) for folder in sorted(split_of)]
    print(f"{source}: its folders {', '.join(folders)} are the splits")
    if others:
        print(
            f"{source}: leaving out {len(others)} images beside them, the first "
            f"{printable(others[0].file.name)}"
        )
    return splits


def _are_splits(source, images, split_of, others, split_folders):
    """Whether folders called like splits are such; raises InputError where that cannot be told."""
    if split_folders != "auto":
        return split_folders == "yes"
    if len(set(split_of.values())) > 1 or not others:
        return True
    (folder, split), *_ = split_of.items()
    inside = {image.parts[1] for image in images if image.parts[0] == folder and image.parts[2:]}
    if split == "train" and len(inside) > 1:
        return True
    if split == "train" and not inside:
        print(f"{source}: taking its folder {printable(folder)} for a class, as the others are")
        return False
    raise InputError(
        f"{source}: its folder {printable(folder)} may be a split or, as what lies beside it "
        f"({printable(others[0].file.name)}, ...), training images; say --split_folders=yes or no"
    )


def _listed_splits(source, files, by_folder, split_of, list_path):
    """Split name -> images, as the list says; classes are the folders below those of splits."""
    parts = {image.file.name: image.parts for images in by_folder.values() for image in images}
    splits = {split: [] for split in sorted(set(split_of.values()), key=_ORDER.index)}
    for file in files:
        image = _Image(file, parts.get(file.name) or file.name.split(b"/"))
        splits[split_of[file.name]].append(image)
    counts = ", ".join(f"{split} {len(images)}" for split, images in splits.items())
    print(f"{source}: the splits are those of {list_path}: {counts}")
    return splits


def _folder_labels(source, splits, labels, classes):
    """(Class names or None, name -> label), from folders."""
    unlabelled = _unlabelled_splits(source, splits) if labels == "auto" else set()
    labelled = {split: images for split, images in splits.items() if split not in unlabelled}
    names = _class_names(source, labelled, labels, classes) if labelled else None
    if names and unlabelled:
        print(f"{source}: no labels for the images of {', '.join(sorted(unlabelled))}")
    number_of = {name: number for number, name in enumerate(names or [])}
    return names, {
        image.file.name: number_of[_class_of(image)] if names and split in labelled else -1
        for split, images in splits.items()
        for image in images
    }


def _unlabelled_splits(source, splits):
    """The splits beside the training images that say no classes."""
    train = next((splits[name] for name in ("train", "trainval") if name in splits), None)
    if train is None or any(len(image.parts) < 2 for image in train):
        return set()
    known = set(map(_class_of, train))
    unlabelled = set()
    for split, images in splits.items():
        folders = {_class_of(image) for image in images if len(image.parts) > 1}
        has_none = any(len(image.parts) < 2 for image in images)
        if has_none and folders:
            outside = next(image for image in images if len(image.parts) < 2)
            print(
                f"{source}: {printable(outside.file.name)} lies in no class folder: {split} goes "
                "without labels"
            )
        if has_none or (split in ("test", "unlabeled") and not folders & known):
            unlabelled.add(split)
    return unlabelled


def _class_of(image):
    return printable(image.parts[0])


def _class_names(source, splits, labels, classes):
    images = [image for split in splits.values() for image in split]
    outside = next((image for image in images if len(image.parts) < 2), None)
    folders = sorted({_class_of(image) for image in images if len(image.parts) > 1})
    if labels == "none":
        return None
    if labels == "auto" and classes is None and (outside is not None or len(folders) < 2):
        if outside is not None and len(folders) > 1:
            print(
                f"{source}: no labels, since {printable(outside.file.name)} lies in no class "
                "folder; move it into one for labels"
            )
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
                f"{source}: unknown classes, not in the --classes file: {shown(unknown)} "
                f"({len(unknown)} in all)"
            )
    elif "train" in splits:
        unseen = sorted(set(folders) - {_class_of(image) for image in splits["train"]})
        if unseen:
            raise InputError(
                f"{source}: classes without training images: {shown(unseen)}; say --labels=none to "
                "go without labels"
            )
    empty = sorted(_folders_on_disk(source, splits) - set(folders))
    if empty:
        print(
            f"{source}: folders without images are no classes: "
            f"{', '.join(empty[:5])}{' ...' if len(empty) > 5 else ''}"
        )
    if classes is None:
        print(f"{source}: the folders are its {len(folders)} classes: {shown(folders)}")
    return classes or folders


def _folders_on_disk(source, splits):
    if not source.is_dir() or len(splits) > 1:
        return set()
    names = (os.fsencode(path.name) for path in source.iterdir() if path.is_dir())
    return {printable(name) for name in names if not locations.is_system_folder(name)}

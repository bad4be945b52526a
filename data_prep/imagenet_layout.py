"""Finds the images of ILSVRC2012 and their classes: tars as published, the unpacked tree, Kaggle's
archive, tiny-imagenet, or Hugging Face's names.

Classes are the sorted WordNet ids ("wnids") of the training images, from 0. All layouts give the
same records of the same images, but for the names that Hugging Face gave them.
"""

import pathlib
import re

import numpy as np

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.progress import Progress
from data_prep import imagenet_truth, locations
from data_prep.decoding import printable
from data_prep.faults import shown
from data_prep.image_set import ImageSet, Item
from data_prep.split_names import split_of_name

TRAIN_TAR, VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
# Hugging Face's archives, once decompressed.
_NAMED_TARS = {"train": "train_images_*.tar", "val": "val_images*.tar"}
# Where Kaggle's archive keeps train/ and val/, below the lists that name the classes.
_KAGGLE_ROOTS = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
# The class at the end of Hugging Face's names: n01440764_18_n01440764.JPEG,
# ILSVRC2012_val_00000293_n01440764.JPEG.
_CLASS_IN_NAME = re.compile(rb"_(n\d{8})\.\w+$")


def list_images(source: str | pathlib.Path, ground_truth_ids: str = "devkit") -> ImageSet:
    """Lists ImageNet.

    Args:
      source: directory with the two tars, with `train/` and perhaps `val/` or `validation/`, the
        root of Kaggle's archive (`ILSVRC/Data/CLS-LOC/...`), or Hugging Face's tars, and the files
        that tell the validation classes.
      ground_truth_ids: see `imagenet_truth.validation_classes`.

    Raises:
      InputError: the layout is another, or the class files disagree with the images.
    """
    source = pathlib.Path(source)
    root = _root(source)
    train = _train_files(root, [source, root])
    wnids = sorted(train)
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    splits = {"train": [_item(file, label_of[wnid]) for wnid in wnids for file in train[wnid]]}
    flat, by_folder = _val_files(root)
    val = _split_folder(root, "val")
    if flat:
        names = [_base_name(file) for file in flat]
        classes = _named_classes(names) or imagenet_truth.validation_classes(
            [source, root, *([val] if val else [])],
            names,
            wnids,
            ground_truth_ids,
            are_all=(root / VAL_TAR).is_file(),
        )
        _check_known(val or root, set((classes or {}).values()), wnids)
        splits["val"] = [
            _item(file, label_of[classes[name]] if classes else -1)
            for file, name in zip(flat, names, strict=True)
        ]
    elif by_folder:
        _check_known(val, by_folder.keys(), wnids)
        files = [
            (_base_name(file), wnid, file) for wnid, files in by_folder.items() for file in files
        ]
        splits["val"] = [_item(file, label_of[wnid]) for _, wnid, file in sorted(files)]
    else:
        print(
            f"{source}: no validation images ({VAL_TAR} or val/), converting the training images "
            "alone"
        )
    return _image_set(splits, wnids, [source, root])


def list_train_images(source: str | pathlib.Path, val_per_class: int, seed: int) -> ImageSet:
    """Lists the training images alone, some of every class as val.

    Args:
      source: as for `list_images`; no validation images need be there.
      val_per_class: images of every class that are val.
      seed: which ones.

    Raises:
      InputError: the layout is another, or a class has too few images.
    """
    source = pathlib.Path(source)
    root = _root(source)
    train = _train_files(root, [source, root])
    wnids = sorted(train)
    small = [f"{wnid} ({len(train[wnid])})" for wnid in wnids if len(train[wnid]) <= val_per_class]
    if small:
        raise InputError(
            f"{root}: --val_per_class={val_per_class} leaves no training image of {shown(small)}"
        )
    splits: dict[str, list[Item]] = {"train": [], "val": []}
    rng = np.random.default_rng(seed)
    for label, wnid in enumerate(wnids):
        drawn = set(rng.permutation(len(train[wnid]))[:val_per_class].tolist())
        for number, file in enumerate(train[wnid]):
            splits["val" if number in drawn else "train"].append(_item(file, label))
    return _image_set(splits, wnids, [source, root])


def _image_set(splits, wnids, places):
    """The images, with the words of the classes where a file in one of the places has them."""
    words = imagenet_truth.read_words(places, wnids)
    return ImageSet(
        splits, wnids, "imagenet", locations.read_location, {"class_words": words} if words else {}
    )


def _root(source):
    return next(
        (source / below for below in _KAGGLE_ROOTS if _split_folder(source / below, "train")),
        source,
    )


def _split_folder(root, split):
    """The folder of a split, in any usual spelling, or None."""
    if not root.is_dir():
        return None
    folders = [
        path
        for path in sorted(root.iterdir())
        if path.is_dir() and split_of_name(path.name) == split
    ]
    if len(folders) > 1:
        raise InputError(
            f"{root}: two folders for the split {split!r}, {folders[0].name}/ and "
            f"{folders[1].name}/; keep one"
        )
    return folders[0] if folders else None


def _check_known(place, used, wnids):
    if unknown := sorted(used - set(wnids)):
        raise InputError(f"{place}: classes without training images: {shown(unknown)}")


def _named_classes(names):
    """Name -> the wnid at its end; None where a name has none."""
    matches = {name: _CLASS_IN_NAME.search(name) for name in names}
    if None in matches.values():
        return None
    return {name: match[1].decode() for name, match in matches.items()}


def _train_files(root, places):
    """Wnid -> its files, sorted by name; of the published tar as many as a list in one of the
    places says.
    """
    if (root / TRAIN_TAR).is_file():
        files = _train_files_in_tar(root / TRAIN_TAR)
        _check_counts(root / TRAIN_TAR, files, imagenet_truth.train_counts(places))
        return files
    folder = _split_folder(root, "train")
    if folder is not None:
        files, flat = _by_class(_walked(folder))
        place = folder
    elif flat := _files_of_named_tars(root, "train"):
        files, place = {}, root / _NAMED_TARS["train"]
    else:
        raise InputError(
            f"{root}: holds neither {TRAIN_TAR} nor train/; name the directory of the ILSVRC2012 "
            "tars or tree"
        )
    named = _named_classes([_base_name(file) for file in flat])
    if (flat and not named) or (flat and files) or not (flat or files):
        content = f"{printable(flat[0].name)} outside them" if flat else "no images"
        raise InputError(f"{place}: expected one folder per class, found {content}")
    for file in flat:
        files.setdefault(named[_base_name(file)], []).append(file)
    return files


def _files_of_named_tars(root, split):
    """The images of Hugging Face's tars of a split, sorted by name."""
    pattern = _NAMED_TARS[split]
    if packed := sorted(root.glob(pattern + ".gz")):
        raise InputError(f"{packed[0]}: is compressed; decompress it and its like first (gunzip)")
    return sorted(
        member
        for path in sorted(root.glob(pattern))
        for member in locations.tar_members(path)
        if locations.is_image_name(member.name)
    )


def _walked(folder):
    """Yields the files of a tree, and says what was left out."""
    skipped = locations.SkippedFolders.nothing()
    yield from locations.walk_tree(folder, skipped)
    for line in skipped.describe():
        print(f"{folder}: {line}")


def _check_counts(path, files, published):
    wrong = [
        f"{wnid} ({len(found)} of {published[wnid]})"
        for wnid, found in files.items()
        if len(found) != published.get(wnid, len(found))
    ]
    if wrong:
        raise InputError(
            f"{path}: other numbers of images than meta.mat says, of {len(wrong)} classes: "
            f"{shown(wrong)}; fetch the tar again"
        )


def _train_files_in_tar(path):
    files = {}
    inner_tars = [member for member in locations.tar_members(path) if member.name.endswith(b".tar")]
    if not inner_tars:
        raise InputError(
            f"{path}: holds no class tars (n01440764.tar, ...); this is not the published training "
            "tar"
        )
    progress = Progress(f"indexing {path.name}", len(inner_tars), "class tars")
    for done, inner in enumerate(inner_tars, 1):
        wnid = pathlib.PurePosixPath(printable(inner.name)).stem
        tar_path, start, size = inner.location
        members = [
            member
            for member in locations.tar_members(tar_path, start, start + size)
            if locations.is_image_name(member.name)
        ]
        if not members:
            raise InputError(f"{path}: its member {printable(inner.name)} holds no images")
        files[wnid] = sorted(members)
        if done < len(inner_tars):
            progress.update(done)
    return files


def _val_files(root):
    """(Flat files, wnid -> files): one of the two is empty."""
    if (root / VAL_TAR).is_file():
        members = locations.tar_members(root / VAL_TAR)
        return sorted(m for m in members if locations.is_image_name(m.name)), {}
    folder = _split_folder(root, "val")
    if folder is None:
        return _files_of_named_tars(root, "val"), {}
    by_folder, flat = _by_class(_walked(folder))
    if by_folder.keys() == {"images"}:  # As in tiny-imagenet.
        flat, by_folder = flat + by_folder["images"], {}
    if flat and by_folder:
        raise InputError(
            f"{folder}: holds images both in class folders and beside them "
            f"({printable(flat[0].name)})"
        )
    return flat, by_folder


def _by_class(files):
    by_folder, flat = {}, []
    for file in files:
        if locations.is_image_name(file.name):
            folder, _, rest = file.name.partition(b"/")
            if rest:
                by_folder.setdefault(printable(folder), []).append(file)
            else:
                flat.append(file)
    return by_folder, flat


def _base_name(file):
    return file.name.rpartition(b"/")[2]


def _item(file, label):
    return Item(_base_name(file), label, file.size, file.location)

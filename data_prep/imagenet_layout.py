"""Finds the images of ILSVRC2012 and their classes: tars as published, or the unpacked tree.

Classes are the sorted WordNet ids ("wnids") of the training images, from 0. Both layouts give the
same records.
"""

import pathlib

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.progress import Progress
from data_prep import imagenet_truth, locations
from data_prep.decoding import printable
from data_prep.image_set import ImageSet, Item

TRAIN_TAR, VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


def list_images(source: str | pathlib.Path, ground_truth_ids: str = "devkit") -> ImageSet:
    """Lists ImageNet.

    Args:
      source: directory with the two tars, or with `train/` and perhaps `val/`, and the files that
        tell the validation classes.
      ground_truth_ids: see `imagenet_truth.validation_classes`.

    Raises:
      InputError: the layout is another, or the class files disagree with the images.
    """
    source = pathlib.Path(source)
    train = _train_files(source)
    wnids = sorted(train)
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    splits = {"train": [_item(file, label_of[wnid]) for wnid in wnids for file in train[wnid]]}
    flat, by_folder = _val_files(source)
    if flat:
        names = [_base_name(file) for file in flat]
        classes = imagenet_truth.validation_classes(source, names, wnids, ground_truth_ids)
        splits["val"] = [
            _item(file, label_of[classes[name]] if classes else -1)
            for file, name in zip(flat, names, strict=True)
        ]
    elif by_folder:
        unknown = sorted(set(by_folder) - set(wnids))
        if unknown:
            raise InputError(
                f"{source / 'val'}: classes without training images: {', '.join(unknown[:5])}"
            )
        files = [
            (_base_name(file), wnid, file) for wnid, files in by_folder.items() for file in files
        ]
        splits["val"] = [_item(file, label_of[wnid]) for _, wnid, file in sorted(files)]
    else:
        print(
            f"{source}: no validation images ({VAL_TAR} or val/), converting the training images "
            "alone"
        )
    words = imagenet_truth.read_words(source, wnids)
    return ImageSet(
        splits, wnids, "imagenet", locations.read_location, {"class_words": words} if words else {}
    )


def _train_files(source):
    """Wnid -> its files, sorted by name."""
    if (source / TRAIN_TAR).is_file():
        return _train_files_in_tar(source / TRAIN_TAR)
    if not (source / "train").is_dir():
        raise InputError(
            f"{source}: holds neither {TRAIN_TAR} nor train/; name the directory of the ILSVRC2012 "
            "tars or tree"
        )
    files, flat = _by_class(locations.walk_tree(source / "train"))
    if flat or not files:
        content = f"{printable(flat[0].name)} outside them" if flat else "no images"
        raise InputError(f"{source / 'train'}: expected one folder per class, found {content}")
    return files


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


def _val_files(source):
    """(Flat files, wnid -> files): one of the two is empty."""
    if (source / VAL_TAR).is_file():
        return sorted(
            member
            for member in locations.tar_members(source / VAL_TAR)
            if locations.is_image_name(member.name)
        ), {}
    if not (source / "val").is_dir():
        return [], {}
    by_folder, flat = _by_class(locations.walk_tree(source / "val"))
    if flat and by_folder:
        raise InputError(
            f"{source / 'val'}: holds images both in class folders and beside them "
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

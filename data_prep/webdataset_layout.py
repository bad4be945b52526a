"""Finds images and their labels in tars as WebDataset has them: files of one sample share their
name up to its first dot, `000017.jpg` the image, `000017.cls` or `000017.json` the class.
"""

import contextlib
import itertools
import json
import os
import pathlib
import re
from collections import Counter
from collections.abc import Sequence

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.progress import Progress
from data_prep import file_list, locations, split_files
from data_prep.decoding import printable
from data_prep.faults import Faults, shown
from data_prep.image_set import ImageSet, Item
from data_prep.split_names import split_of_name

_LABEL_KEYS = ("label", "class", "cls", "class_id", "label_id", "category")
_MOST_LABEL_BYTES = 1 << 20
_LOOKED_AT = 200


def find_files(source: pathlib.Path) -> list[pathlib.Path]:
    """Returns the tars at a path, in it or in its folders of splits, if they are a WebDataset's:
    there are several, or a sample of the only one has a class beside its image.
    """
    tars = tars_in(source)
    if len(tars) > 1 or (tars and _has_classes(tars[0])):
        return tars
    return []


def tars_in(source: pathlib.Path) -> list[pathlib.Path]:
    """Returns the tar at a path, or those of a directory that holds no images, and no folders but
    such of splits with tars. Compressed ones are among them, to be refused.
    """
    if source.is_file() and _is_tar(source):
        return [source]
    if not source.is_dir():
        return []
    entries = [path for path in source.iterdir() if not path.name.startswith(".")]
    if any(locations.is_image_name(os.fsencode(path.name)) for path in entries):
        return []
    folders = [path for path in entries if path.is_dir()]
    tars = [path for path in entries if _is_tar(path) and path.is_file()]
    for folder in folders:
        inside = [path for path in folder.iterdir() if _is_tar(path) and path.is_file()]
        if not inside or split_of_name(folder.name.rstrip("0123456789")) is None:
            return []
        tars += inside
    return sorted(tars)


def _is_tar(path):
    return path.name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"))


def _has_classes(path):
    """Whether one of the first samples of a tar has a class beside its image."""
    images, classes = set(), set()
    for member in itertools.islice(locations.tar_members(path), _LOOKED_AT):
        key, suffix = _parts(member.name)
        if locations.is_image_name(member.name):
            images.add(key)
        elif suffix == b"cls":
            classes.add(key)
        elif suffix == b"json":
            with contextlib.suppress(ValueError, RecursionError):
                if _json_label(member) is not None:
                    classes.add(key)
    return bool(images & classes)


def _parts(name):
    """What a sample's files share of their names, and the rest."""
    folder, _, base = name.rpartition(b"/")
    stem, _, suffix = base.partition(b".")
    return folder + b"/" + stem, suffix.lower()


def list_images(
    source: pathlib.Path,
    files: Sequence[pathlib.Path],
    *,
    classes: list[str] | None,
    labels: str = "auto",
) -> ImageSet:
    """Lists the images. Splits are told by the tars' names or folders, see
    `split_files.files_by_split`; one without classes leaves the others theirs.

    Texts beside the images (.txt) are classes where there are no .cls and no .json with a label,
    and where all are whole numbers, or names of `classes`; else they are captions.

    Args:
      source: for messages.
      files: of `find_files`.
      classes: see `file_list.number_labels`.
      labels: "auto" or "none".

    Raises:
      InputError: no images, several in a sample of which none is the usual one, or a split in which
        some samples have a class and others have none.
    """
    faults, ignored = Faults(str(source)), Counter()
    progress, done = Progress("indexing", len(files), "tars"), 0
    rows: dict[str, list[tuple]] = {}
    below = source if source.is_dir() else source.parent
    for split, tars in split_files.files_by_split(source, files, below=below).items():
        for path in tars:
            prefix = f"{path.stem}/".encode() if len(files) > 1 else b""
            rows.setdefault(split, []).extend(_samples(path, prefix, ignored, faults))
            done += 1
            progress.update(done)
    _take_texts(rows, classes, ignored)
    if ignored:
        common = ", ".join(f"{suffix} {count}" for suffix, count in ignored.most_common(5))
        print(f"{source}: ignoring {ignored.total()} files that are no images ({common})")
    found = {split: [label for _, _, label in samples] for split, samples in rows.items()}
    if not any(found.values()):
        raise InputError(f"{source}: its tars hold no images")
    for split, values in found.items():
        bare = values.count(None)
        if 0 < bare < len(values):
            faults.add(f"{bare} of {len(values)} images of {split} have no class, others have")
        elif bare and labels != "none" and any(one.count(None) == 0 for one in found.values()):
            print(f"{source}: the images of {split} have no labels")
    faults.refuse("mend the tars")
    class_names, number_of = None, {None: -1}
    used = {label for values in found.values() for label in values if label is not None}
    if labels != "none" and used:
        class_names, numbers = file_list.number_labels({one.encode(): one for one in used}, classes)
        number_of |= numbers
    items = {
        split: [
            Item(name, number_of.get(label, -1), file.size, file.location)
            for name, file, label in samples
        ]
        for split, samples in sorted(rows.items())
    }
    return ImageSet(items, class_names, "webdataset", locations.read_location)


def _samples(path, prefix, ignored, faults):
    """Yields (name, file, label as text, or `_Caption`, or None) of a tar's samples."""
    samples: dict[bytes, dict[bytes, locations.SourceFile]] = {}
    for file in locations.tar_members(path):
        if locations.system_folder(file.name) or file.name.rpartition(b"/")[2].startswith(b"."):
            ignored["hidden"] += 1
            continue
        key, suffix = _parts(file.name)
        samples.setdefault(key, {})[suffix] = file
    for key, files in samples.items():
        image = _image_of(files)
        if isinstance(image, list):
            names = shown([printable(suffix) for suffix in image])
            faults.add(f"{path}: {printable(key.lstrip(b'/'))}: several images: {names}")
            continue
        label, of_label = _label(files, path, faults) if image is not None else (None, None)
        for suffix in files:
            if suffix not in (image, of_label):
                ignored[f".{printable(suffix)}"] += 1
        if image is not None:
            yield prefix + files[image].name, files[image], label


def _image_of(files):
    """The suffix of a sample's image: jpg, png, ..., or the only other one; None, or a list of
    several.
    """
    images = [s for s in files if locations.is_image_name(b"x." + s)]
    plain = [s for s in images if b"." not in s]
    usual = next((s for s in (b"jpg", b"jpeg", b"png", b"webp") if s in plain), None)
    found = [usual] if usual else plain or images
    return found if len(found) > 1 else next(iter(found), None)


class _Caption(str):
    """The text of a .txt: perhaps a class, perhaps a caption."""


def _label(files, path, faults):
    """The class of a sample as a text, from .cls, .json or .txt, and which of them; None, None
    where there is none.
    """
    if b"cls" in files:
        text = _read(files[b"cls"])
        return (printable(text.strip()) or None) if text is not None else None, b"cls"
    if b"json" in files:
        try:
            label = _json_label(files[b"json"])
        except (ValueError, RecursionError) as error:
            faults.add(f"{path}: {printable(files[b'json'].name)}: no JSON ({error})")
            return None, b"json"
        if label is not None:
            return label, b"json"
    if b"txt" in files and (text := _read(files[b"txt"])) is not None:
        return _Caption(printable(text.strip())), b"txt"
    return None, None


def _json_label(file):
    text = _read(file)
    if text is None:
        return None
    content = json.loads(text)
    values = content if isinstance(content, dict) else {"label": content}
    value = next((values[key] for key in _LABEL_KEYS if key in values), None)
    return str(value) if isinstance(value, (int, str)) else None


def _read(file):
    """The bytes of a small file; None of one that can hold no class."""
    return locations.read_location(file.location) if file.size <= _MOST_LABEL_BYTES else None


def _take_texts(rows, classes, ignored):
    """Makes classes of the texts beside images, or takes them away, in place."""
    known = set(classes or ())
    found = [label for samples in rows.values() for _, _, label in samples]
    texts = [label for label in found if isinstance(label, _Caption)]
    others = any(label is not None and not isinstance(label, _Caption) for label in found)
    are_classes = not others and all(
        text in known or re.fullmatch(r"[+-]?\d+", text, re.ASCII) for text in texts
    )
    if not texts or are_classes:
        return
    ignored[".txt"] += len(texts)
    for split, samples in rows.items():
        rows[split] = [
            (name, file, None if isinstance(label, _Caption) else label)
            for name, file, label in samples
        ]

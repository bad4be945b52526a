"""Finds images and their labels in tars as WebDataset has them: files of one sample share their
name up to its first dot, `000017.jpg` the image, `000017.cls` or `000017.json` the class.
"""

import json
import pathlib
import re
from collections import Counter
from collections.abc import Sequence

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.progress import Progress
from data_prep import file_list, locations
from data_prep.decoding import printable
from data_prep.faults import Faults
from data_prep.image_set import ImageSet, Item
from data_prep.split_names import split_of_name

_LABEL_KEYS = ("label", "class", "cls", "class_id", "label_id", "category")
_MOST_LABEL_BYTES = 1 << 20


def find_files(source: pathlib.Path) -> list[pathlib.Path]:
    """Returns the tars of a directory without folders, or the tar at a path, if they are a
    WebDataset's: there are several, or a sample of the only one has a class beside its image.
    """
    tars = tars_in(source)
    if len(tars) > 1 or (tars and _has_classes(tars[0])):
        return tars
    return []


def tars_in(source: pathlib.Path) -> list[pathlib.Path]:
    """Returns the tar at a path, or those of a directory without folders."""
    if source.suffix == ".tar" and source.is_file():
        return [source]
    if not source.is_dir() or any(path.is_dir() for path in source.iterdir()):
        return []
    return sorted(source.glob("*.tar"))


def _has_classes(path):
    """Whether one of the first files of a tar holds the class of a sample."""
    for number, member in enumerate(locations.tar_members(path)):
        if member.name.endswith(b".cls"):
            return True
        if number > 100:
            return False
    return False


def list_images(
    source: pathlib.Path,
    files: Sequence[pathlib.Path],
    *,
    classes: list[str] | None,
    labels: str = "auto",
) -> ImageSet:
    """Lists the images. Splits are told by the tars' names; tars that tell none are `train`.

    Args:
      source: for messages.
      files: of `find_files`.
      classes: see `file_list.number_labels`.
      labels: "auto" or "none".

    Raises:
      InputError: no images, or samples of which some have a class and others have none.
    """
    faults, ignored = Faults(str(source)), Counter()
    progress = Progress("indexing", len(files), "tars")
    rows: dict[str, list[tuple]] = {}
    for number, path in enumerate(files, 1):
        words = re.split(r"[-_.]", path.name)
        split = next(filter(None, map(split_of_name, words)), "train")
        prefix = f"{path.stem}/".encode() if len(files) > 1 else b""
        rows.setdefault(split, []).extend(_samples(path, prefix, ignored, faults))
        progress.update(number)
    if ignored:
        common = ", ".join(f"{suffix} {count}" for suffix, count in ignored.most_common(5))
        print(f"{source}: ignoring {ignored.total()} files that are no images ({common})")
    found = [label for samples in rows.values() for _, _, label in samples]
    if not found:
        raise InputError(f"{source}: its tars hold no images")
    bare = found.count(None)
    if 0 < bare < len(found):
        faults.add(f"{bare} of {len(found)} images have no class, others have")
    faults.refuse("mend the tars")
    class_names, number_of = None, {None: -1}
    if labels != "none" and not bare:
        used = {label.encode(): label for label in set(found)}
        class_names, numbers = file_list.number_labels(used, classes)
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
    """Yields (name, file, label as text or None) of a tar's samples."""
    samples: dict[bytes, dict[bytes, locations.SourceFile]] = {}
    for file in locations.tar_members(path):
        folder, _, base = file.name.rpartition(b"/")
        if locations.system_folder(file.name) or base.startswith(b"."):
            ignored["hidden"] += 1
            continue
        stem, _, suffix = base.partition(b".")
        samples.setdefault(folder + b"/" + stem, {})[suffix.lower()] = file
    for files in samples.values():
        images = [s for s in files if locations.is_image_name(b"x." + s) and b"." not in s]
        image = next((s for s in (b"jpg", b"jpeg", b"png", b"webp") if s in images), None)
        image = image or next(iter(images), None)
        for suffix in files:
            if suffix not in (image, b"cls", b"json"):
                ignored[f".{printable(suffix)}"] += 1
        if image is None:
            continue
        label = _label(files, path, faults)
        yield prefix + files[image].name, files[image], label


def _label(files, path, faults):
    """The class of a sample as a text, from .cls or from .json; None where there is none."""
    suffix = next((s for s in (b"cls", b"json") if s in files), None)
    if suffix is None or files[suffix].size > _MOST_LABEL_BYTES:
        return None
    file = files[suffix]
    text = locations.read_location(file.location)
    if suffix == b"cls":
        return printable(text.strip()) or None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        return faults.add(f"{path}: {printable(file.name)}: no JSON ({error})")
    values = content if isinstance(content, dict) else {"label": content}
    value = next((values[key] for key in _LABEL_KEYS if key in values), None)
    return str(value) if isinstance(value, (int, str)) else None

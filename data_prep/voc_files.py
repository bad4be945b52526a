"""The files of a PASCAL VOC source by what they are: a devkit, packed or not, or what labelling
tools write in its manner, with lists or with images and annotations side by side.
"""

import dataclasses
import os
import pathlib
import re

from ccssl_tf.runs.errors import InputError
from data_prep import locations
from data_prep.decoding import printable
from data_prep.locations import SourceFile
from data_prep.split_names import split_of_name
from data_prep.text_lines import lines_of

SPLITS = ("train", "val", "trainval", "test")
_DEVKIT = re.compile(r"VOC\d{4}")
# CVAT's list of the images that were given no split.
_UNNAMED_LIST = "default"


@dataclasses.dataclass(frozen=True)
class VocFiles:
    """The files of one source.

    Attributes:
      name: of the source, as messages begin.
      images, annotations, masks: id -> file; an id is the name without suffix.
      lists: path below the source -> file, of ImageSets/.
      folders: split -> ids, where folders tell the splits; else None.
      label_map: CVAT's labelmap.txt, or None.
    """

    name: str
    images: dict[str, SourceFile]
    annotations: dict[str, SourceFile]
    masks: dict[str, SourceFile]
    lists: dict[str, SourceFile]
    folders: dict[str, list[str]] | None = None
    label_map: SourceFile | None = None

    def split_lists(self, room: str) -> dict[str, str]:
        """Returns split -> path of its list in ImageSets/<room>."""
        stems = {
            path.removeprefix(f"ImageSets/{room}/").removesuffix(".txt"): path
            for path in self.lists
            if path.startswith(f"ImageSets/{room}/") and path.endswith(".txt")
        }
        lists = {split: stems[split] for split in SPLITS if split in stems}
        if lists:
            return lists
        named = {split_of_name(stem): path for stem, path in stems.items() if split_of_name(stem)}
        if not named and _UNNAMED_LIST in stems:
            print(f"{self.name}: the images of {stems[_UNNAMED_LIST]} are taken for train")
            return {"train": stems[_UNNAMED_LIST]}
        return {split: named[split] for split in SPLITS if split in named}

    def class_lists(self, split: str) -> dict[str, str]:
        """Returns class -> path of the list that says which images of a split hold it."""
        end = f"_{split}.txt"
        return {
            path.removeprefix("ImageSets/Main/").removesuffix(end): path
            for path in self.lists
            if path.startswith("ImageSets/Main/") and path.endswith(end)
        }

    def ids(self, path: str) -> list[str]:
        """Returns the ids of a list."""
        data = locations.read_location(self.lists[path].location)
        return read_ids(f"{self.name}/{path}", data, self.images)


def read_ids(name: str, data: bytes, known) -> list[str]:
    """Returns the ids of a list of images, with or without suffix, one a line; what follows an id
    on its line is not read.

    Args:
      name: of the list, for messages.
      data: its bytes.
      known: ids there are; a whole line may be one, blanks included.

    Raises:
      InputError: no ids, or one twice.
    """
    ids = []
    for line in lines_of(data):
        text = line.strip().decode("utf-8", "replace")
        if text:
            whole = without_suffix(text)
            ids.append(whole if whole in known else without_suffix(text.split()[0]))
    if not ids or len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next((one for one in ids if one in seen or seen.add(one)), None)
        raise InputError(
            f"{name}: "
            + (f"names {twice} twice" if ids else "names no images")
            + "; fetch it again"
        )
    return ids


def without_suffix(name: str) -> str:
    """Returns a file's name without the suffix of an image."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower().encode() in locations.IMAGE_SUFFIXES else name


def find_files(source: str | pathlib.Path, year: int) -> VocFiles:
    """Finds the files of VOC<year>, or of a source that some tool wrote in its manner.

    Args:
      source: directory of the devkit's tars, one such tar, the unpacked tree (`VOCdevkit`, what
        holds it, or `VOC2007` itself), a tree with `ImageSets/`, `JPEGImages/` and `Annotations/`
        of its own, or images and their .xml files in folders, which may be splits.
      year: 2007 or 2012, or any other the devkit was made for.

    Raises:
      InputError: nothing of the kind, or two files that differ where one is meant.
    """
    source = pathlib.Path(source)
    name = f"{source}: VOC{year}"
    tars = sorted(source.glob("*.tar")) if source.is_dir() else [source]
    for root in (source, source / f"VOC{year}", source / "VOCdevkit" / f"VOC{year}"):
        if root.resolve().name == f"VOC{year}" and (root / "ImageSets").is_dir():
            return _devkit_files(name, _walked(root))
    marker = f"VOC{year}/".encode()
    packed = _tar_files(source, tars, marker) if tars else {}
    if any(path.startswith("ImageSets/") for path in packed):
        return _devkit_files(name, packed)
    files = None
    if source.is_dir() and not tars and not _holds_devkit(source):
        for root in (source, *sorted(path for path in source.iterdir() if path.is_dir())):
            if (root / "ImageSets").is_dir():
                return _devkit_files(str(root), _walked(root))
        files = _loose_files(source, _walked(source))
    if files is None:
        raise InputError(
            f"{source}: holds no VOC{year}/ImageSets, neither a tree nor an uncompressed tar of "
            "it, nor images with .xml files; see --source and --year"
        )
    return files


def _holds_devkit(source):
    return bool(
        _DEVKIT.fullmatch(source.resolve().name)
        or any(_DEVKIT.fullmatch(path.name) for path in source.glob("*"))
        or any(_DEVKIT.fullmatch(path.name) for path in source.glob("VOCdevkit/*"))
    )


def _walked(root):
    skipped = locations.SkippedFolders.nothing()
    files = {printable(file.name): file for file in locations.walk_tree(root, skipped)}
    for line in skipped.describe():
        print(f"{root}: {line}")
    return files


def _tar_files(source, tars, marker):
    files = {}
    for path in tars:
        for file in locations.tar_members(path):
            before, separator, name = file.name.partition(marker)
            if not separator or (before and not before.endswith(b"/")):
                continue
            # The tars of one year share directories, not files; where they do, they must be the
            # same.
            other = files.setdefault(printable(name), file)
            if other is not file and (other.size != file.size or _bytes(other) != _bytes(file)):
                raise InputError(
                    f"{source}: two different files {printable(file.name)}, one in {path.name}; "
                    "keep one tar of each kind"
                )
    return files


def _bytes(file):
    return locations.read_location(file.location)


def _devkit_files(name, files):
    def below(folder, suffixes):
        by_id = {}
        for path, file in files.items():
            stem, suffix = os.path.splitext(path)
            if path.startswith(f"{folder}/") and suffix.lower() in suffixes:
                _put(name, by_id, stem.removeprefix(f"{folder}/"), file)
        return by_id

    return VocFiles(
        name,
        images=below("JPEGImages", _IMAGES),
        annotations=below("Annotations", (".xml",)),
        masks=below("SegmentationClass", (".png",)),
        lists={path: file for path, file in files.items() if path.startswith("ImageSets/")},
        label_map=files.get("labelmap.txt"),
    )


_IMAGES = tuple(suffix.decode() for suffix in locations.IMAGE_SUFFIXES)


def _put(name, by_id, file_id, file):
    other = by_id.setdefault(file_id, file)
    if other is not file:
        raise InputError(
            f"{name}: {printable(other.name)} and {printable(file.name)} would be one image; keep "
            "one"
        )


def _loose_files(source, files):
    """Images with .xml files beside them or in other folders; None where there are none such."""
    xml = [path for path in files if path.lower().endswith(".xml")]
    if not xml:
        return None
    split_at = {path: _split_in(path) for path in files}
    images: dict[str, SourceFile] = {}
    by_stem: dict[tuple, list[str]] = {}
    for path, file in files.items():
        stem, suffix = os.path.splitext(path)
        if suffix.lower() in _IMAGES and not os.path.basename(path).startswith("."):
            _put(str(source), images, stem, file)
            by_stem.setdefault((split_at[path], os.path.basename(stem)), []).append(stem)
    annotations: dict[str, SourceFile] = {}
    for path in xml:
        stem = os.path.splitext(path)[0]
        beside = by_stem.get((split_at[path], os.path.basename(stem)), [])
        if stem not in images and len(beside) > 1:
            raise InputError(f"{source}: {path} may be of {' or '.join(beside[:5])}; keep one")
        image_id = stem if stem in images else next(iter(beside), stem)
        _put(str(source), annotations, image_id, files[path])
    folders: dict[str, list[str]] = {}
    for image_id in sorted(annotations):
        file = images.get(image_id, annotations[image_id])
        split = split_at[printable(file.name)] or "train"
        folders.setdefault(split, []).append(image_id)
    if without := sorted(images.keys() - annotations.keys()):
        print(
            f"{source}: leaving out {len(without)} images without .xml file, the first {without[0]}"
        )
    folders = {split: folders[split] for split in SPLITS if split in folders}
    return VocFiles(str(source), images, annotations, {}, {}, folders)


def _split_in(path):
    """The split that one of a path's folders is called after, or None."""
    parts = path.split("/")[:-1]
    return next(filter(None, map(split_of_name, parts)), None)

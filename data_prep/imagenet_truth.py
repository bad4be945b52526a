"""The classes of ImageNet's validation images, from whichever file tells them beyond doubt.

The published ground-truth file numbers classes by ILSVRC2012_ID, which is NOT their sorted order;
only the development kit's `meta.mat` tells which is which, so that file without the kit is refused
unless the user says what its numbers are.
"""

import csv
import pathlib
import re
import tarfile
from collections.abc import Sequence

from ccssl_tf.runs.damage import told_as_damage
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from data_prep import mat_files, text_lines
from data_prep.decoding import printable

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
DEVKIT = "ILSVRC2012_devkit_t12"
_CSV_NAMES = ("val_labels.csv", "LOC_val_solution.csv")
_META_BYTES = 64 * 2**20


def validation_classes(
    directories: Sequence[pathlib.Path],
    names: list[bytes],
    wnids: list[str],
    ground_truth_ids: str,
    *,
    are_all: bool = False,
) -> dict[bytes, str] | None:
    """Tells the wnid of every validation image.

    The first that is there decides: the development kit (packed or not) with its ground truth,
    `val.txt` (name, 0-based index of the sorted wnids), a csv (name, wnid), tiny-imagenet's
    `val_annotations.txt` (name, wnid, a box), the ground truth with `synsets.txt`. Where several
    are there they must agree; one that is about other images is not used, and said.

    Args:
      directories: searched in this order; messages name the first.
      names: the images' base names.
      wnids: the sorted classes.
      ground_truth_ids: "devkit", or "synsets" when the ground truth's numbers are line numbers
        (from 1) of `synsets.txt`.
      are_all: whether the images are to be all that a file names, and not some of them.

    Returns:
      Name -> wnid, or None when there is no such file at all.

    Raises:
      InputError: a bare ground truth, files that disagree with each other or with the images,
        unknown classes.
    """
    truths, source = {}, directories[0]
    ground_truth = _find_ground_truth(directories)
    if ground_truth_ids == "synsets":
        if ground_truth is None:
            raise InputError(
                f"{source}: --ground_truth_ids=synsets, but there is no {GROUND_TRUTH}"
            )
        synsets = _find(directories, "synsets.txt")
        order = dict(enumerate(_text(synsets).split(), 1)) if synsets else dict(enumerate(wnids, 1))
        truths[ground_truth.name] = _from_ground_truth(
            _text(ground_truth), ground_truth, order, names
        )
    path, meta, truth_text = _devkit(directories, ground_truth)
    if meta is not None:
        ids = _ids_of(meta, path)
        truths["meta.mat"] = _from_ground_truth(truth_text, GROUND_TRUTH, ids, names)
    if (path := _find(directories, "val.txt")) is not None:
        truths["val.txt"] = _from_val_txt(path, wnids)
    if (path := _find(directories, *_CSV_NAMES)) is not None:
        truths[path.name] = _from_csv(path)
    if (path := _find(directories, "val_annotations.txt")) is not None:
        truths[path.name] = _from_annotations(path)
    if not truths:
        if ground_truth is not None:
            raise InputError(
                f"{ground_truth}: its numbers mean nothing without the development kit "
                f"({DEVKIT}.tar.gz or meta.mat); add it, or "
                "val.txt or a csv of wnids, or say --ground_truth_ids=synsets if they are line "
                "numbers of synsets.txt"
            )
        print(f"{source}: nothing tells the classes of the validation images; they stay unlabelled")
        return None
    about_others = [name for name, classes in truths.items() if not classes.keys() & set(names)]
    if len(about_others) < len(truths):
        for name in about_others:
            print(f"{source}: {name} names none of the validation images; not used")
            del truths[name]
    classes = _agreed(source, truths, names, wnids)
    if are_all and (listed := max(map(len, truths.values()))) > len(names):
        first = max(truths, key=lambda name: len(truths[name]))
        raise InputError(
            f"{source}: {len(names)} validation images, but {first} is of {listed}; fetch the "
            "images again"
        )
    return {name: classes[name] for name in names}


def train_counts(directories: Sequence[pathlib.Path]) -> dict[str, int]:
    """Returns how many training images were published of each wnid, as the development kit says;
    empty without one.
    """
    path, meta, _ = _devkit(directories, _find_ground_truth(directories))
    if meta is None:
        return {}
    _, wnids, counts = _synsets(meta, path)
    return {wnid: count for wnid, count in zip(wnids, counts, strict=True) if count >= 0}


def _agreed(source, truths, names, wnids):
    (first, classes), *others = truths.items()
    missing = [name for name in names if name not in classes]
    if missing:
        raise InputError(
            f"{source / first}: no class for {len(missing)} images, the first "
            f"{printable(missing[0])}"
        )
    unknown = sorted({classes[name] for name in names} - set(wnids))
    if unknown:
        raise InputError(
            f"{source / first}: classes without training images: {', '.join(unknown[:5])} "
            f"({len(unknown)} in all)"
        )
    for other, theirs in others:
        different = [name for name in names if theirs.get(name) != classes[name]]
        if different:
            name = different[0]
            raise InputError(
                f"{source}: {first} and {other} disagree about {len(different)} images, the first "
                f"{printable(name)} "
                f"({classes[name]} and {theirs.get(name)}); remove the wrong file"
            )
    return classes


def read_words(directories: Sequence[pathlib.Path], wnids: list[str]) -> list[str] | None:
    """Returns the words of each class from `words.txt` (wnid, tab, words), or Kaggle's
    `LOC_synset_mapping.txt` or `synset_words.txt` (wnid, blank, words); None without such a file.
    """
    path = _find(directories, "words.txt", "LOC_synset_mapping.txt", "synset_words.txt")
    if path is None:
        return None
    words = dict(line.split(None, 1) for line in _lines(path) if len(line.split(None, 1)) == 2)
    return [words.get(wnid, "") for wnid in wnids]


def _find(directories, *names):
    paths = (directory / name for name in names for directory in directories)
    return next((path for path in paths if path.is_file()), None)


def _find_ground_truth(directories):
    return _find(directories, GROUND_TRUTH, f"{DEVKIT}/data/{GROUND_TRUTH}")


def _lines(path):
    return [line.decode("utf-8", "replace") for line in text_lines.read_lines(path)]


def _text(path):
    return "\n".join(_lines(path))


def _devkit(directories, ground_truth):
    """(Path and bytes of meta.mat, text of the ground truth), or three times None."""
    packed = _find(directories, f"{DEVKIT}.tar.gz", f"{DEVKIT}.tar")
    if packed is not None:
        with (
            told_as_damage(packed, "not a whole archive", "fetch it again"),
            tarfile.open(packed) as archive,
        ):
            meta = _member(archive, "meta.mat")
            truth = _member(archive, GROUND_TRUTH)
        if meta is None or truth is None:
            raise InputError(
                f"{packed}: holds no {'meta.mat' if meta is None else GROUND_TRUTH}; this is not "
                "the task 1-2 kit"
            )
        return packed / "meta.mat", meta, truth.decode("ascii", "replace")
    meta = _find(directories, "meta.mat", f"{DEVKIT}/data/meta.mat")
    if meta is None or ground_truth is None:
        return None, None, None
    return meta, meta.read_bytes(), _text(ground_truth)


def _member(archive, name):
    for member in archive:
        if (
            member.isfile()
            and pathlib.PurePosixPath(member.name).name == name
            and member.size <= _META_BYTES
        ):
            return archive.extractfile(member).read()
    return None


def _ids_of(meta, path):
    """ILSVRC2012_ID -> wnid."""
    numbers, wnids, _ = _synsets(meta, path)
    return dict(zip(numbers, wnids, strict=True))


def _synsets(meta, path):
    """ILSVRC2012_ID, wnid and published training images (-1: not told) of each class."""
    try:
        return [array.tolist() for array in mat_files.read_mat("synsets", meta)]
    except mat_files.UnreadableMat as error:
        raise CorruptArtifactError(
            f"{path}: not the development kit's table of classes ({error}); fetch it again"
        ) from error


def _from_ground_truth(text, path, order, names):
    """Line k is the class of image k; the image's number is in its name."""
    try:
        ids = [int(line) for line in text.split()]
        classes = {
            f"ILSVRC2012_val_{number:08}.JPEG".encode(): order.get(one)
            for number, one in enumerate(ids, 1)
        }
        for name in names:
            number = int(re.fullmatch(rb"ILSVRC2012_val_(\d{8})\.\w+", name, re.IGNORECASE)[1])
            classes[name] = order[ids[number - 1]] if 1 <= number <= len(ids) else None
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: not one known class number a line ({error})") from error
    except TypeError as error:
        raise InputError(
            f"{printable(name)}: not the name of a validation image (ILSVRC2012_val_00000001.JPEG)"
        ) from error
    if len(ids) != len(names) and None in map(classes.get, names):
        raise InputError(f"{path}: {len(ids)} lines for {len(names)} images")
    return classes


def _from_val_txt(path, wnids):
    try:
        lines = text_lines.read_lines(path)
        pairs = [line.rsplit(None, 1) for line in lines if line.strip()]
        numbered = {name.rpartition(b"/")[2]: int(label) for name, label in pairs}
    except ValueError as error:
        raise InputError(f"{path}: expected lines of `name label` ({error})") from error
    wrong = next((label for label in numbered.values() if not 0 <= label < len(wnids)), None)
    if wrong is not None:
        raise InputError(
            f"{path}: label {wrong}, but there are {len(wnids)} classes of training images (labels "
            "count from 0)"
        )
    return {name: wnids[label] for name, label in numbered.items()}


def _from_csv(path):
    """Reads `name,wnid` and Kaggle's `name without suffix,wnid x y x y ...`."""
    classes = {}
    with text_lines.open_text(path) as file:
        for row in csv.reader(file):
            if len(row) < 2 or not re.match(r"n\d{8}\b", row[1]):
                continue  # The header.
            name = row[0].rpartition("/")[2]
            classes[
                (name if "." in name else name + ".JPEG").encode("utf-8", "surrogateescape")
            ] = row[1].split()[0]
    return classes


def _from_annotations(path):
    """Reads lines of `name wnid x y width height`."""
    classes = {}
    for number, line in enumerate(text_lines.read_lines(path), 1):
        if not line.strip():
            continue
        name, *rest = line.split()
        if not rest or not re.fullmatch(rb"n\d{8}", rest[0]):
            raise InputError(f"{path}: line {number}: expected an image and its wnid")
        classes[name] = rest[0].decode()
    return classes

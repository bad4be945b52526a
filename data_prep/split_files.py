"""Files that each hold many images: which split each belongs to, and that none of a numbered series
is missing.
"""

import pathlib
import re
from collections.abc import Iterable

from ccssl_tf.runs.errors import InputError
from data_prep.faults import Faults, shown
from data_prep.split_names import split_of_name

_NUMBERED = re.compile(r"^(.*?)-?(\d+)-of-(\d+)(.*)$")


def split_of_path(path: str | pathlib.Path) -> str | None:
    """Returns the split that the last telling word of a file's name means, or else the nearest of
    its folders; None if nothing does.

    Digits behind a word do not matter. The last word counts, for what stands before it is the name
    of the data set.

    >>> split_of_path("coco/instances_train2017.json"), split_of_path("a/my_test-train.tfrecord")
    ('train', 'train')
    """
    path = pathlib.PurePath(path)
    words = re.findall(r"[^\W\d_]+", path.name)
    folders = [re.sub(r"\d+$", "", name) for name in reversed(path.parent.parts)]
    return next(filter(None, map(split_of_name, [*reversed(words), *folders])), None)


def files_by_split(
    source: str | pathlib.Path, files: Iterable[pathlib.Path], below: pathlib.Path | None = None
) -> dict[str, list[pathlib.Path]]:
    """Returns split -> files, sorted. Files that tell none are "train", and this is said.

    Args:
      source: as messages begin.
      files: any number of files.
      below: directory whose own name, and what is above, tells nothing; None: the folder of each
        file does, others do not.

    Raises:
      InputError: only some of the files tell their split, or a file of a numbered series
        (name-00000-of-00010) is missing.
    """
    splits: dict[str, list[pathlib.Path]] = {}
    untold = []
    files = sorted(set(files))
    for path in files:
        named = below is not None and path.is_relative_to(below)
        short = path.relative_to(below) if named else pathlib.Path(path.parent.name, path.name)
        split = split_of_path(short)
        splits.setdefault(split or "train", []).append(path)
        if split is None:
            untold.append(str(path))
    if untold and len(untold) < len(files):
        raise InputError(
            f"{source}: {len(untold)} files tell no split by their names, others do: "
            f"{shown(untold)}; rename them"
        )
    _refuse_gaps(source, files)
    if untold:
        print(f"{untold[0]}: tells no split by its name; all are taken for train")
    return splits


def _refuse_gaps(source, files):
    """A lost file of a series would be a tenth of the images lost without a word."""
    faults = Faults(str(source))
    numbers: dict[tuple, set[int]] = {}
    for path in files:
        if match := _NUMBERED.match(path.name):
            # What follows the count is the suffix, or a digest that each file has of its own.
            suffix = re.sub(r"-[0-9a-f]{8,}", "", match[4])
            series = path.parent, match[1], int(match[3]), suffix
            numbers.setdefault(series, set()).add(int(match[2]))
    for (folder, name, count, suffix), found in numbers.items():
        # Some programs count from 1.
        first = 1 if 0 not in found and count in found else 0
        for number in sorted(set(range(first, first + count)) - found):
            faults.add(f"{folder / name}-{number:05}-of-{count:05}{suffix} is missing")
    faults.refuse("fetch what is missing, or name the files to take under other names")

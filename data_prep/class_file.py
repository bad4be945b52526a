"""The names of classes in a text file, in the order of their numbers."""

import pathlib
from collections import Counter

from ccssl_tf.runs.errors import InputError
from data_prep import text_lines
from data_prep.faults import shown


def read_classes(path: str | pathlib.Path) -> list[str]:
    """Reads class names, one a line; raises InputError where there are none or one comes twice."""
    try:
        lines = [line.decode().strip() for line in text_lines.read_lines(path)]
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
        raise InputError(
            f"--classes={path}: not a readable list of class names ({error})"
        ) from error
    names = [name for name in lines if name]
    if not names:
        raise InputError(f"--classes={path}: holds no class names")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"--classes={path}: {shown(list(map(repr, twice)))} comes twice")
    return names

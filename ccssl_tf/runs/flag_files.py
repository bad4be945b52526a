"""Flagfiles: the words of a command line kept in a file, one flag a line.

As absl reads them: blank lines and lines that begin with # or // say nothing, and a nested
--flagfile stands for the flags it holds. Besides, a line that ends with a blank and a
backslash goes on in the next one, as in a shell, so that no line need be long.
"""

import os
from collections.abc import Sequence

from ccssl_tf.runs.errors import FlagError

_NAMES = ("--flagfile", "-flagfile")


def expanded(words: Sequence[str]) -> list[str]:
    """Returns the words of a command line with those of its flagfiles in their place.

    Args:
      words: as typed; those after a lone `--` are left as they are.

    Raises:
      FlagError: a file cannot be read, is not UTF-8, ends within a line that goes on, or names
        itself.
    """
    return _expanded(list(words), ())


def _expanded(words: list[str], files: tuple[str, ...]) -> list[str]:
    result: list[str] = []
    while words:
        word, *words = words
        name, has_value, path = word.partition("=")
        if word == "--":
            return [*result, word, *words]
        if name not in _NAMES:
            result.append(word)
            continue
        if not has_value:
            if not words:
                raise FlagError("--flagfile: names no file; write --flagfile=FILE")
            path, *words = words
        result += _words_of(os.path.expanduser(path.strip()), files)
    return result


def _words_of(path, files):
    if path in files:
        raise FlagError(f"--flagfile={path}: is named within itself")
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise FlagError(f"--flagfile={path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FlagError(f"--flagfile={path}: is not UTF-8 ({error}); save it so") from error
    return _expanded(list(_flags(path, lines)), (*files, path))


def _flags(path, lines):
    """Yields the flags that the lines of a file hold."""
    begun: list[str] = []
    for line in lines:
        text = line.strip()
        if not begun and (not text or text.startswith(("#", "//"))):
            continue
        if text.endswith(" \\"):
            begun.append(text[:-2].strip())
            continue
        yield " ".join([*begun, text])
        begun = []
    if begun:
        raise FlagError(
            f"--flagfile={path}: ends with a backslash, which says that {begun[0]} goes on"
        )

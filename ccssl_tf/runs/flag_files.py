"""Flagfiles: the words of a command line kept in a file, one flag a line.

As absl reads them: blank lines and lines that begin with # or // say nothing, and a nested
--flagfile stands for the flags it holds. Besides, a line that ends with a blank and a
backslash goes on in the next one, as in a shell, so that no line need be long. Those of the
project's experiments/ are there in any directory, also where no checkout is.
"""

import os
from collections.abc import Sequence

from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.shipped import located

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
    rest = iter(words)
    for word in rest:
        name, has_value, path = word.partition("=")
        if word == "--":
            return [*result, word, *rest]
        if name not in _NAMES:
            result.append(word)
            continue
        path = path if has_value else next(rest, "")
        if not path.strip():
            raise FlagError("--flagfile: names no file; write --flagfile=FILE")
        result += _words_of(located(os.path.expanduser(path.strip())), files)
    return result


def _words_of(path, files):
    if path in files:
        raise FlagError(f"--flagfile={path}: is named within itself")
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()  # At line feeds alone: values may hold any other break.
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
            begun.append(text.removesuffix(" \\").strip())
            continue
        yield " ".join([*begun, text])
        begun = []
    if begun:
        raise FlagError(
            f"--flagfile={path}: ends with a backslash, which says that {begun[0]} goes on"
        )

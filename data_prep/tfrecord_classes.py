"""The classes of foreign TFRecords: their numbers anew from 0, and their names."""

import pathlib
import re
from collections import Counter

from ccssl_tf.runs.errors import InputError
from data_prep.decoding import printable
from data_prep.faults import Faults, shown

_ITEM = re.compile(r"item\s*\{(.*?)\}", re.DOTALL)


def number_classes(
    labels: dict[int | str, Counter[bytes]], label_map: str | None, faults: Faults
) -> tuple[list[str] | None, dict[int | str, int]]:
    """Returns the names of the classes, None where there are none, and the number of each label.

    Args:
      labels: label -> text beside it -> how often. Labels below 0 are none.
      label_map: path of the Object Detection API's .pbtxt, or of a text with a name a line, the
        first one that of number 0, or of 1 where 0 is not in use; None: without.
      faults: where labels that do not fit each other, their texts or the map are told.
    """
    numbers = sorted(label for label in labels if isinstance(label, int))
    words = sorted(label for label in labels if isinstance(label, str))
    if numbers and words:
        faults.add("the label is a number in some records, in others a name")
        return None, {}
    none = {label: -1 for label in numbers if label < 0}
    numbers = [label for label in numbers if label >= 0]
    if words:
        names = words
        if label_map is not None:
            told = _label_map(pathlib.Path(label_map), [])
            names = [told[number] for number in sorted(told)]
        if unknown := sorted(set(words) - set(names)):
            faults.add(f"--label_map={label_map}: has no class called {shown(unknown)}")
            return None, {}
        return names, {word: number for number, word in enumerate(names)}
    if label_map is not None:
        told = _label_map(pathlib.Path(label_map), numbers)
        if unknown := [label for label in numbers if label not in told]:
            faults.add(
                f"--label_map={label_map}: names no class for the numbers "
                f"{shown(list(map(str, unknown)))}"
            )
            return None, {}
        order = sorted(told)
        return [told[label] for label in order], {n: k for k, n in enumerate(order)} | none
    if not numbers:
        return None, none
    texts = [labels[label] for label in numbers]
    named = [printable(max(seen, key=seen.get)) for seen in texts if seen]
    for label, seen in zip(numbers, texts, strict=True):
        if len(seen) > 1:
            several = ", ".join(printable(text) for text in list(seen)[:5])
            faults.add(f"label {label} has several names: {several}")
    if len(set(named)) < len(numbers):
        if named:
            why = "two labels have one name" if len(named) == len(numbers) else "some have no name"
            print(f"--source: {why}; the classes are called by their numbers")
        named = [str(label) for label in numbers]
    renumbered = {label: number for number, label in enumerate(numbers)}
    if numbers != list(range(len(numbers))):
        print(
            f"--source: the labels {numbers[0]} to {numbers[-1]} become 0 to {len(numbers) - 1}",
            flush=True,
        )
    return named, renumbered | none


def _label_map(path, numbers):
    """Number -> name, of a .pbtxt or of lines of names."""
    from data_prep import class_file

    if path.suffix.lower() != ".pbtxt":
        if not path.is_file():
            raise InputError(f"--label_map={path}: no such file")
        # What tensorflow-datasets writes counts from 0, whatever labels are in use.
        first = 0 if 0 in numbers or path.name.endswith(".labels.txt") else 1
        print(f"--label_map={path}: its first line is taken for the number {first}")
        return dict(enumerate(class_file.read_classes(path), first))
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--label_map={path}: cannot be read ({error})") from error
    told = {}
    for item in _ITEM.findall(text):
        number = re.search(r"\bid\s*:\s*(\d+)", item)
        name = re.search(r"\bdisplay_name\s*:\s*[\"'](.*?)[\"']", item) or re.search(
            r"\bname\s*:\s*[\"'](.*?)[\"']", item
        )
        if number and name:
            told[int(number[1])] = name[1]
    if not told or len(set(told.values())) < len(told):
        raise InputError(
            f"--label_map={path}: expected lines `item {{ id: 1 name: 'cat' }}`, each name once"
        )
    return told

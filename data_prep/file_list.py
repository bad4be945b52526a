"""A list of images, and perhaps their labels: text with a line `path[ label]` an image, or csv with
the header `filename[,label]`.
"""

import codecs
import csv
import pathlib
from collections.abc import Collection

from ccssl_tf.runs.errors import InputError
from data_prep.decoding import printable

_LISTED_MISSING = 20
_MOST_CLASSES = 1_000_000


def read_list(path: str | pathlib.Path, names: Collection[bytes]) -> dict[bytes, str | None]:
    """Reads a list of images.

    In text the label follows a tab or the last blank; a line that is a file's name as it stands has
    none. Labels that are not UTF-8 are escaped, as the names of class folders are.

    Args:
      path: the list; csv when it is called so.
      names: the files there are, relative to the source, `/` between parts.

    Returns:
      Name -> label, all None or none of them.

    Raises:
      InputError: a malformed line, an image that is missing, listed twice or, unlike others,
        without label. Lines count from 1.
    """
    path = pathlib.Path(path)
    labels, lines, missing = {}, {}, []
    for line, name, label in (
        _csv_rows(path) if path.suffix.lower() == ".csv" else _text_rows(path, names)
    ):
        name = name.removeprefix(b"./")
        if name not in names:
            missing.append(f"{printable(name)} (line {line})")
        elif name in labels:
            raise InputError(
                f"--list={path}: line {line}: {printable(name)} is listed twice (before: line "
                f"{lines[name]})"
            )
        labels[name], lines[name] = label, line
    if missing:
        more = (
            f" and {len(missing) - _LISTED_MISSING} more" if len(missing) > _LISTED_MISSING else ""
        )
        raise InputError(
            f"--list={path}: {len(missing)} of {len(labels)} images are not below --source: "
            f"{', '.join(missing[:_LISTED_MISSING])}{more}"
        )
    if not labels:
        raise InputError(f"--list={path}: names no images")
    bare = [name for name, label in labels.items() if label is None]
    if 0 < len(bare) < len(labels):
        raise InputError(
            f"--list={path}: line {lines[bare[0]]}: {printable(bare[0])} has no label, other "
            "images have; label all or none"
        )
    return labels


def _csv_rows(path):
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file, restkey="more", strict=True)
            if "filename" not in (reader.fieldnames or []):
                raise InputError(
                    f"--list={path}: line 1: expected the header `filename,label` or `filename`, "
                    f"found {reader.fieldnames}"
                )
            for row in reader:
                if not row["filename"] or "more" in row or None in row.values():
                    raise InputError(
                        f"--list={path}: line {reader.line_num}: expected {len(reader.fieldnames)} "
                        "fields, a filename first of all"
                    )
                name, label = (
                    value.encode("utf-8", "surrogateescape")
                    for value in (row["filename"], row.get("label") or "")
                )
                yield reader.line_num, name, printable(label.strip()) or None
    except csv.Error as error:
        raise InputError(f"--list={path}: line {reader.line_num}: no csv ({error})") from error


def _text_rows(path, names):
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").rstrip(b"\r\n")
            stripped = line.strip()
            if not stripped:
                continue
            name, label = (
                next(
                    (name for name in (line, stripped) if name.removeprefix(b"./") in names),
                    stripped,
                ),
                b"",
            )
            blank = b"\t" if b"\t" in stripped else b" "
            if name.removeprefix(b"./") not in names and blank in name:
                name, _, label = name.rpartition(blank)
                name = name.rstrip()
            yield number, name, printable(label) or None


def number_labels(
    labels: dict[bytes, str], classes: list[str] | None
) -> tuple[list[str], dict[str, int]]:
    """Returns the class names, and the number of each label.

    Labels are names, numbered as in `classes` or, without it, sorted. If all are numbers (and are
    not in `classes`) they are the classes' numbers, from 0; without `classes` their names are these
    numbers.

    Raises:
      InputError: labels that are not in `classes`, or numbers out of its range.
    """
    used = sorted(set(labels.values()))
    unknown = [] if classes is None else [label for label in used if label not in classes]
    if all(label.isascii() and label.isdecimal() for label in used) and (
        classes is None or unknown
    ):
        numbers = {label: int(label) for label in used}
        end = _MOST_CLASSES if classes is None else len(classes)
        wrong = next((label for label, number in numbers.items() if number >= end), None)
        if wrong is not None:
            raise InputError(
                f"--list: label {wrong}, but there are "
                f"{'at most ' if classes is None else ''}{end} classes, counted from 0"
            )
        return classes or [str(number) for number in range(max(numbers.values()) + 1)], numbers
    if unknown:
        raise InputError(
            f"--list: unknown classes, not in the --classes file: {', '.join(unknown[:5])} "
            f"({len(unknown)} in all)"
        )
    names = classes or used
    return names, {name: number for number, name in enumerate(names)}

"""A list of images, and perhaps their labels and splits: text with a line `path[ label]` an image,
or csv with a header.
"""

import csv
import pathlib
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from ccssl_tf.runs.errors import InputError
from data_prep.decoding import printable
from data_prep.faults import Faults, shown
from data_prep.split_names import split_of_name
from data_prep.text_lines import open_text, read_lines

_MOST_CLASSES = 1_000_000
# What columns are called, in lower case without blanks, dashes and underscores.
FILENAME_COLUMNS = (
    *("filename", "filenames", "file", "filepath", "path", "image", "images", "imagename"),
    *("imagefile", "imagefilename", "imagepath", "img", "imgname", "imgpath"),
)
LABEL_COLUMNS = (
    *("label", "labels", "labelname", "labelid", "class", "classes", "classname", "classid"),
    *("classlabel", "category", "categories", "categoryname", "categoryid", "target"),
)
_SPLIT_COLUMNS = ("split", "splits", "splitname", "subset", "partition", "set", "phase")


class ImageList(NamedTuple):
    """What a list says.

    Attributes:
      labels: name -> label, all None or none of them.
      splits: name -> "train", "val", ...; None where the list has no splits.
    """

    labels: dict[bytes, str | None]
    splits: dict[bytes, str] | None


class _Row(NamedTuple):
    """What one line of a list says of an image; `split` as it is written there."""

    line: int
    name: bytes
    label: str | None
    split: str | None


def read_list(
    path: str | pathlib.Path, names: Collection[bytes], label_column: str | None = None
) -> ImageList:
    """Reads a list of images.

    In text the label follows a tab or the last blank; a line that is a file's name as it stands has
    none. In csv, between commas, semicolons or tabs, columns of usual names in any case are the
    file name (`filename`, `path`, `image`, ...), the label (`label`, `class`, `category`, ...) and
    the split (`split`, `subset`, `set`, ...); others are named in a line. Labels that are not UTF-8
    are escaped, as the names of class folders are.

    Args:
      path: the list; csv when it is called .csv or .tsv.
      names: the files there are, relative to the source, `/` between parts.
      label_column: name of the csv's column that holds the labels, where it is an unusual one or
        there are several.

    Raises:
      InputError: malformed lines, columns that might all be the labels, a split of no known name,
        or images that are missing, listed twice or, unlike others, without label. Lines count
        from 1; all faults are told.
    """
    path = pathlib.Path(path)
    is_csv = path.suffix.lower() in (".csv", ".tsv")
    if label_column is not None and not is_csv:
        raise InputError(f"--label_column={label_column}: --list={path} is no csv; leave it out")
    faults = Faults(f"--list={path}")
    labels: dict[bytes, str | None] = {}
    splits: dict[bytes, str] = {}
    lines: dict[bytes, int] = {}
    missing = []
    rows = _csv_rows(path, label_column, faults) if is_csv else _text_rows(path, names)
    for row in rows:
        name = row.name.removeprefix(b"./")
        if name not in names:
            missing.append(f"{printable(name)} (line {row.line})")
        elif name in labels:
            faults.add(
                f"line {row.line}: {printable(name)} is listed twice (before: line {lines[name]})"
            )
        labels[name], lines[name] = row.label, row.line
        if row.split is not None:
            split = split_of_name(row.split)
            if split is None:
                faults.add(
                    f"line {row.line}: split {row.split!r}; expected train, val, test, trainval or "
                    "unlabeled"
                )
            else:
                splits[name] = split
    if missing:
        faults.add(
            f"{len(missing)} of {len(labels)} images are not below --source: {shown(missing)}"
        )
    bare = [name for name, label in labels.items() if label is None]
    if 0 < len(bare) < len(labels):
        faults.add(
            f"line {lines[bare[0]]}: {printable(bare[0])} has no label ({len(bare)} in all), other "
            "images have; write -1 for images without"
        )
    if not labels and not faults.count:
        faults.add("names no images")
    faults.refuse("mend the list")
    return ImageList(labels, splits or None)


def _csv_rows(path, label_column, faults) -> Iterator[_Row]:
    reader = None
    try:
        with open_text(path) as file:
            delimiter = _delimiter(file.readline())
            file.seek(0)
            reader = csv.DictReader(file, restkey="more", strict=True, delimiter=delimiter)
            columns = _Columns.among(path, list(reader.fieldnames or []), label_column)
            for row in reader:
                if not row[columns.filename] or "more" in row or None in row.values():
                    faults.add(
                        f"line {reader.line_num}: expected {len(reader.fieldnames)} fields, a file "
                        "name among them"
                    )
                    continue
                name = row[columns.filename].encode("utf-8", "surrogateescape")
                yield _Row(
                    reader.line_num,
                    name,
                    _text(row[columns.label]) or None if columns.label else None,
                    _text(row[columns.split]) if columns.split else None,
                )
    except (csv.Error, UnicodeError) as error:
        line = reader.line_num if reader else 1
        raise InputError(f"--list={path}: line {line}: no csv ({error})") from error


def _text(value):
    return printable(value.strip().encode("utf-8", "surrogateescape"))


def _delimiter(header):
    """The one that makes the most columns; a comma where none makes any."""
    return max(",;\t", key=header.count)


class _Columns(NamedTuple):
    """The columns of a csv, as its header writes them."""

    filename: str
    label: str | None
    split: str | None

    @classmethod
    def among(cls, path, header, label_column):
        """Chooses them, and says which columns are not used."""
        filename = _column(path, header, "file names", FILENAME_COLUMNS)
        if filename is None:
            raise InputError(
                f"--list={path}: line 1: expected the header `filename,label` or `filename`, "
                f"found {header}"
            )
        if label_column is None:
            label = _column(path, header, "labels", LABEL_COLUMNS, "--label_column")
        elif label_column in header:
            label = label_column
        else:
            raise InputError(
                f"--label_column={label_column}: --list={path} has the columns {', '.join(header)}"
            )
        split = _column(path, header, "splits", _SPLIT_COLUMNS)
        if unused := [name for name in header if name not in (filename, label, split)]:
            print(f"--list={path}: not using its columns {', '.join(map(repr, unused))}")
        return cls(filename, label, split)


def _column(path, header, what, usual, flag=None):
    return usual_column(f"--list={path}", header, what, usual, flag)


def usual_column(
    source: str, header: list[str], what: str, usual: Collection[str], flag: str | None = None
) -> str | None:
    """Returns the column that has one of the usual names; None where there is none.

    Args:
      source: as messages begin.
      header: the columns' names; case, blanks, dashes and underscores do not matter.
      what: they hold.
      usual: names, the most usual first.
      flag: that names one of several; without it one called by the most usual name is taken.

    Raises:
      InputError: several columns.
    """
    usual = list(usual)
    plain = {name: re.sub(r"[\s_-]", "", name).lower() for name in header}
    fitting = [name for name in header if plain[name] in usual]
    if len(fitting) > 1 and not flag:
        fitting = [name for name in fitting if name == usual[0]] or fitting
    if len(fitting) > 1:
        how = f"name one by {flag}" if flag else f"call one {usual[0]}"
        raise InputError(
            f"{source}: the columns {', '.join(map(repr, fitting))} may all be the {what}; {how}"
        )
    return fitting[0] if fitting else None


def _text_rows(path, names) -> Iterator[_Row]:
    for number, line in enumerate(read_lines(path), 1):
        stripped = line.strip()
        if not stripped:
            continue
        name, label = (
            next(
                (name for name in (line, stripped) if name.removeprefix(b"./") in names), stripped
            ),
            b"",
        )
        blank = b"\t" if b"\t" in stripped else b" "
        if name.removeprefix(b"./") not in names and blank in name:
            name, _, label = name.rpartition(blank)
            name = name.rstrip()
        yield _Row(number, name, printable(label) or None, None)


def number_labels(
    labels: dict[bytes, str], classes: list[str] | None
) -> tuple[list[str] | None, dict[str, int]]:
    """Returns the class names, and the number of each label.

    Labels are names, numbered as in `classes` or, without it, sorted. If all are whole numbers
    (`2.0` is one; and they are not in `classes`) they are the classes' numbers, from 0; without
    `classes` their names are these numbers. -1 stands for no label, among names too. Where all are
    -1 there are no class names.

    Raises:
      InputError: labels that are not in `classes`, numbers out of its range, or, without `classes`,
        numbers and names together.
    """
    used = sorted(set(labels.values()))
    known = set(classes or ())
    whole = {label: _whole_number(label) for label in used}
    unlabelled = [label for label in used if whole[label] == -1 and label not in known]
    given = [label for label in used if label not in unlabelled]
    named = {
        label: label if label in known or whole[label] is None else str(whole[label])
        for label in given
    }
    none = dict.fromkeys(unlabelled, -1)
    if not given:
        return None, none
    unknown = [] if classes is None else [label for label in given if named[label] not in known]
    names_among = [label for label in given if whole[label] is None]
    if not names_among and (classes is None or unknown):
        end = _MOST_CLASSES if classes is None else len(classes)
        if wrong := [label for label in given if not 0 <= whole[label] < end]:
            raise InputError(
                f"--list: label {shown(wrong)}, but there are "
                f"{'at most ' if classes is None else ''}{end} classes, counted from 0 (-1: no "
                "label)"
            )
        numbers = {label: whole[label] for label in given}
        names = classes or [str(number) for number in range(max(numbers.values()) + 1)]
        return names, numbers | none
    if unknown:
        raise InputError(
            f"--list: unknown classes, not in the --classes file: {shown(unknown)} "
            f"({len(unknown)} in all)"
        )
    if classes is None and len(names_among) < len(given):
        raise InputError(
            f"--list: of {len(given)} labels {len(given) - len(names_among)} are numbers and "
            f"others are not: {shown(names_among)}; write -1 for images without label, or name all "
            "classes by --classes"
        )
    names = classes or given
    number_of = {name: number for number, name in enumerate(names)}
    return names, {label: number_of[named[label]] for label in given} | none


def _whole_number(label):
    """The number a label is, such as `7`, `-1` and, as spreadsheets write it, `7.0`; or None."""
    match = re.fullmatch(r"([+-]?\d{1,18})(\.0*)?", label, re.ASCII)
    return int(match[1]) if match else None

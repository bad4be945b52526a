"""Which classes a VOC source has: the devkit's 20, or its own."""

from collections import Counter
from collections.abc import Collection

from ccssl_tf.runs.errors import InputError
from data_prep.faults import Faults, shown
from data_prep.text_lines import lines_of
from data_prep.voc_xml import CLASSES


def object_classes(
    source: str,
    used: Counter[str],
    listed: Collection[str],
    given: list[str] | None,
    faults: Faults,
) -> list[str]:
    """Returns the names of the objects' classes in the order of their numbers.

    They are those given; else VOC's 20, where all objects are of these; else those that have class
    lists; else those of the annotations, sorted, and said.

    Args:
      source: as messages begin.
      used: class -> number of its objects in the annotations.
      listed: classes that have lists.
      given: by --classes, or None.
      faults: where objects of other classes are told.
    """
    if given is not None:
        names, whose = given, "the --classes file names"
    elif len(listed) < len(CLASSES) and used and set(used) <= set(listed):
        names, whose = sorted(listed), "the class lists name"
    elif set(used) <= set(CLASSES):
        return CLASSES
    elif set(used) & set(listed):
        names = CLASSES if set(listed) == set(CLASSES) else sorted(listed)
        whose = "the class lists name"
    else:
        names, whose = sorted(used), "its annotations name"
    for name in sorted(set(used) - set(names)):
        faults.add(
            f"unknown class {name[:40]!r} of {used[name]} objects; {whose} {shown(names)}; name "
            "all by --classes"
        )
    if names is not CLASSES:
        print(f"{source}: {whose} {len(names)} classes, numbered in this order: {shown(names)}")
    return names


def mask_classes(
    source: str, label_map: bytes | None, given: list[str] | None
) -> tuple[list[str], dict[tuple[int, int, int], int] | None]:
    """Returns the classes of masks from value 1 on, and, where a label map tells them, the values
    of colours; None: VOC's colours.

    Args:
      source: as messages begin.
      label_map: CVAT's labelmap.txt: lines of `name:r,g,b:parts:actions`; or None.
      given: by --classes, or None.

    Raises:
      InputError: a label map that is none, or names other classes than given.
    """
    if label_map is None:
        return given or CLASSES, None
    colors: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(lines_of(label_map), 1):
        text = line.decode("utf-8", "replace").strip()
        if not text or text.startswith("#"):
            continue
        fields = text.split(":")
        try:
            colors[fields[0].strip()] = red, green, blue = tuple(map(int, fields[1].split(",")))
            if not all(0 <= value <= 255 for value in (red, green, blue)):
                raise ValueError
        except (IndexError, ValueError) as error:
            raise InputError(
                f"{source}: labelmap.txt, line {number}: {text[:60]!r}: expected "
                "`name:red,green,blue::`"
            ) from error
    background = [name for name in colors if name.lower() in ("background", "_background_")]
    names = [name for name in colors if name not in background]
    if given is not None and set(given) != set(names):
        raise InputError(
            f"{source}: labelmap.txt names {shown(names)}, --classes {shown(given)}; mend one"
        )
    names = given or names
    print(f"{source}: labelmap.txt names {len(names)} classes, from 1 on: {shown(names)}")
    values = {colors[name]: value for value, name in enumerate(names, 1)}
    if len(values) < len(names):
        raise InputError(f"{source}: labelmap.txt gives two classes one colour; mend it")
    return names, {colors[name]: 0 for name in background} | values

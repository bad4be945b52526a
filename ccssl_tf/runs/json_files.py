"""Reads the JSON files that this project wrote: what is damaged, edited or of another form is named
in one line.

`write_json` of `ccssl_tf.runs.files` writes them, each with a checksum of its content. Files of
older versions have none; their form alone is checked.
"""

import json
import pathlib
from typing import Any

from ccssl_tf.runs.errors import CorruptArtifactError
from ccssl_tf.runs.files import CHECKSUM, fingerprint_of

_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a fraction",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


def read_json(path, form: Any = dict, *, remedy: str, schema_version: int | None = None) -> dict:
    """Returns the content of a JSON file of ours, without its checksum.

    Args:
      path: of the file.
      form: what must be in it, at least. `str`, `int`, `float`, `bool`, `dict` and `list` stand for
        themselves, a range for a whole number in it, a set for one of its members, None for null or
        nothing, a tuple for one of several forms, `[form]` for a list of such, `{str: form}` for an
        object of such under any names, `{name: form, ...}` for an object with these names.
      remedy: what to do where the file is damaged, which ends the message.
      schema_version: what the file's must be; None where it has none.

    Raises:
      CorruptArtifactError: no regular file, no UTF-8, no JSON, nested too deeply, numbers too long,
        another schema version or form, or not what the checksum is of.

    >>> from ccssl_tf.runs.files import write_json
    >>> write_json(f"{workdir}/a.json", {"count": 3})
    >>> read_json(f"{workdir}/a.json", {"count": range(10)}, remedy="write it again")
    {'count': 3}
    """
    path = pathlib.Path(path)
    if not path.is_file():
        state = "is no regular file" if path.exists() else "is missing"
        raise CorruptArtifactError(f"{path}: {state}; {remedy}")
    try:
        content = json.loads(path.read_bytes().decode())
        fault = _fault(content, form, schema_version)
    except RecursionError:
        fault = "damaged (nested too deeply)"
    except json.JSONDecodeError as error:
        fault = f"damaged (no JSON: {error})"
    except ValueError as error:  # No UTF-8, or a number of too many digits.
        fault = f"damaged ({str(error)[:200]})"
    if fault:
        raise CorruptArtifactError(f"{path}: {fault}; {remedy}")
    return content


def _fault(content, form, schema_version):
    """Returns what is wrong with the content, None for nothing; takes the checksum out of it."""
    if isinstance(content, dict):
        found = content.get("schema_version")
        if schema_version is not None and found != schema_version:
            # Before the checksum: another version may have computed that otherwise.
            return f"schema version {ascii(found)[:20]}, this program reads {schema_version}"
        checksum = content.pop(CHECKSUM, None)
        if checksum not in (None, fingerprint_of(content)):
            return "its content does not match its checksum; it was edited or damaged"
    fault = form_fault(content, form)
    return fault and f"damaged ({fault})"


def form_fault(value, form, where: str = "") -> str | None:
    """Returns what of `value` is not of the form (see `read_json`), None where all is."""
    if isinstance(form, tuple):
        faults = [form_fault(value, one, where) for one in form]
        return None if None in faults else faults[0]
    if isinstance(form, list):
        if not isinstance(value, list):
            return _other(value, "a list", where)
        parts = ((one, form[0], f"{where}[{number}]") for number, one in enumerate(value))
    elif isinstance(form, dict):
        if not isinstance(value, dict):
            return _other(value, "an object", where)
        names = value if str in form else form
        parts = (
            (value.get(name), form.get(str, form.get(name)), f"{where}.{name}" if where else name)
            for name in names
        )
    else:
        return _simple_fault(value, form, where)
    return next((fault for one in parts if (fault := form_fault(*one))), None)


def _simple_fault(value, form, where):
    whole = isinstance(value, int) and not isinstance(value, bool)
    if form is None:
        return None if value is None else _other(value, "nothing", where)
    if isinstance(form, range):
        if whole and value in form:
            return None
        return _other(value, f"a whole number from {form.start} to {form.stop - 1}", where)
    if isinstance(form, set):
        is_member = isinstance(value, str) and value in form
        return None if is_member else _other(value, " or ".join(sorted(form)), where)
    is_of_kind = whole if form is int else isinstance(value, form)
    return None if is_of_kind else _other(value, _KINDS[form], where)


def _other(value, expected, where):
    found = "nothing" if value is None else ascii(value)[:60]
    place = where if where.isprintable() else ascii(where)
    return f"{place[:120] or 'the file'} holds {found} instead of {expected}"

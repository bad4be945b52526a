"""Measurements in one small file, from which the tables are made again without the runs.

The file is JSON, sorted by stage and seed, with a digest of what it holds; no path, time or machine
is in it.
"""

import base64
import dataclasses
import pathlib
from collections.abc import Iterable

from ccssl_tf.data.outcomes import Outcomes
from ccssl_tf.reporting.paper.measurement import Measurement
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import fingerprint_of, write_json
from ccssl_tf.runs.json_files import read_json

_KIND = "measurements of the paper's experiments"
SCHEMA_VERSION = 1


def write_collection(path, measurements: Iterable[Measurement]):
    """Writes measurements to `path`, wholly or not at all; the same ones give the same bytes.

    Args:
      path: of the file; its directory is made if absent, and an earlier such file is replaced.
      measurements: no two of the same stage and seed.

    Raises:
      InputError: the file is there and holds something else.
    """
    path = pathlib.Path(path)
    check_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [
        _entry(measurement)
        for measurement in sorted(measurements, key=lambda one: (one.stage, one.seed))
    ]
    digest = fingerprint_of(entries)
    contents = dict(kind=_KIND, schema_version=SCHEMA_VERSION, digest=digest, measurements=entries)
    write_json(path, contents)


def check_writable(path):
    """Raises InputError where `path` holds something that a collection must not replace."""
    path = pathlib.Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a directory; name a file")
    # The kind is among the first words of the file, also of one that was cut.
    if path.is_file() and _KIND.encode() not in path.read_bytes()[:1000]:
        raise InputError(f"{path}: holds something else than measurements; name another file")


def read_collection(path) -> list[Measurement]:
    """Returns the measurements of a file that `write_collection` wrote, by stage and seed.

    Args:
      path: of the file.

    Raises:
      InputError: no such file, or a file of something else.
      CorruptArtifactError: the file was changed or damaged after it was written.
    """
    return _read(pathlib.Path(path))


def put_together(sources: Iterable[tuple[str, Iterable[Measurement]]]) -> list[Measurement]:
    """Returns the measurements of several sources, by stage and seed.

    Args:
      sources: of each what to call it in a message, and its measurements.

    Raises:
      InputError: two sources tell different things of the same stage and seed.
    """
    found: dict[tuple[str, int], tuple[str, Measurement]] = {}
    for source, measurements in sources:
        for measurement in measurements:
            key = measurement.stage, measurement.seed
            if found.setdefault(key, (source, measurement))[1] != measurement:
                raise InputError(
                    f"{source}: tells of {key[0]}, seed {key[1]}, other than {found[key][0]} does; "
                    "give one of the two"
                )
    return [measurement for _, (_, measurement) in sorted(found.items())]


def _read(path: pathlib.Path) -> list[Measurement]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a file that --collect wrote")
    contents = read_json(path, object, remedy="collect it again")
    if not isinstance(contents, dict) or contents.get("kind") != _KIND:
        raise InputError(f"{path}: holds no measurements; name a file that --collect wrote")
    if contents.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path}: is of version {contents.get('schema_version')}, not {SCHEMA_VERSION}; "
            "collect it again"
        )
    if contents.get("digest") != fingerprint_of(contents.get("measurements")):
        raise CorruptArtifactError(
            f"{path}: was changed after it was written (its digest is another); collect it again"
        )
    try:
        return [_measurement(entry) for entry in contents["measurements"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptArtifactError(
            f"{path}: holds a measurement that is none ({error}); collect it again"
        ) from error


def _entry(measurement: Measurement) -> dict:
    outcomes = measurement.outcomes
    packed = {} if outcomes is None else outcomes.packed
    entry = {
        field.name: getattr(measurement, field.name) for field in dataclasses.fields(measurement)
    }
    entry["outcomes"] = {layer: base64.b64encode(bits).decode() for layer, bits in packed.items()}
    return entry


def _measurement(entry: dict) -> Measurement:
    packed = {
        layer: base64.b64decode(text, validate=True) for layer, text in entry["outcomes"].items()
    }
    outcomes = Outcomes(entry["count"], packed) if packed else None
    return Measurement(**{**entry, "outcomes": outcomes})

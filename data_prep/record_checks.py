"""Reads every record of one shard and says what is wrong with it. Runs in worker processes, which
import TensorFlow.
"""

import dataclasses
import hashlib
import io
import pathlib

import numpy as np
from PIL import Image

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.runs.errors import CcsslError, CorruptArtifactError
from ccssl_tf.runs.files import file_sha256
from data_prep import decoding, jpeg

LISTED = 20
_CORNERS = ("ymin", "xmin", "ymax", "xmax")


class BadRecord(CcsslError):
    """The record is not what its writer writes; the message says why, the caller knows
    where it is.
    """


@dataclasses.dataclass
class ShardReport:
    """What one shard was found to be.

    Attributes:
      name: of the shard.
      sha256: of its bytes as they are; None without the file.
      faults: the first `LISTED`, each one line without the shard's name.
      num_faults: all of them.
      index: [n] int64, the image indices in the order of the rows read.
      record: [n] int64, the number of the record each row is in, from 0.
      listed: SHA-256 of what images.csv should say of the images; "" for other kinds.
    """

    name: str
    sha256: str | None = None
    faults: list[str] = dataclasses.field(default_factory=list)
    num_faults: int = 0
    index: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))
    record: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))
    listed: str = ""

    def add(self, fault: str):
        """Notes a fault."""
        self.num_faults += 1
        if len(self.faults) < LISTED:
            self.faults.append(fault)


def check_shard(
    directory: pathlib.Path, shard: manifest_lib.Shard, kind: str, info: dict
) -> ShardReport:
    """Compares a shard with the manifest and checks its records one by one.

    Args:
      directory: of the shard.
      shard: its entry in the manifest.
      kind: the manifest's: "images", "features", "pseudo_labels" or "proposals".
      info: the manifest's facts.
    """
    from ccssl_tf.data import records

    path, report, check = directory / shard.name, ShardReport(shard.name), _CHECKS[kind]
    if not path.is_file():
        report.add("is missing")
        return report
    size, report.sha256 = path.stat().st_size, file_sha256(path)
    if size != shard.num_bytes:
        report.add(f"has {size} bytes instead of {shard.num_bytes}")
    elif report.sha256 != shard.sha256:
        report.add(f"its SHA-256 is {report.sha256[:12]}... instead of {shard.sha256[:12]}...")
    rows, number, whole, listed = [], 0, True, hashlib.sha256()
    try:
        for serialized in records.read_shard(path):
            try:
                features = _features(serialized)
                rows.append(check(features, info))
                if kind == "images":
                    listed.update(_listed(features))
            except (BadRecord, decoding.BadImage) as error:
                report.add(f"record {number}: {error}")
                rows.append(_readable_index(serialized))
            number += 1
    except CorruptArtifactError:
        report.add(f"record {number}: damaged or cut off, the rest of the shard cannot be read")
        whole = False
    report.listed = listed.hexdigest() if kind == "images" else ""
    report.index = np.concatenate([*rows, report.index])
    report.record = np.repeat(np.arange(number), [len(row) for row in rows])
    if whole and len(report.index) != shard.num_examples:
        report.add(
            f"holds {len(report.index)} {'rows' if kind == 'features' else 'records'} instead of "
            f"{shard.num_examples}"
        )
    return report


class _Features:
    """The features of one example, by key."""

    def __init__(self, raw):
        self._raw = raw

    def __contains__(self, key):
        return key in self._raw

    def values(self, key, kind):
        """Returns the values under `key`, of "bytes", "int64" or "float"; none where the key is
        absent.
        """
        return list(getattr(self._raw[key], f"{kind}_list").value) if key in self._raw else []

    def one(self, key, kind):
        """Returns the single value under `key`."""
        values = self.values(key, kind)
        if len(values) != 1:
            raise BadRecord(f"{len(values)} values of {key} instead of one")
        return values[0]


def _features(serialized):
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return _Features(tf.train.Example.FromString(serialized).features.feature)
    except DecodeError as error:
        raise BadRecord("no tf.train.Example") from error


def listed_row(index: int, filename: bytes, label: int) -> bytes:
    """Returns what is digested of an image to compare it with its row in images.csv."""
    return b"%d %d %s\n" % (index, label, filename)


def _listed(features):
    labels = features.values("image/class/label", "int64")
    return listed_row(
        features.one("image/index", "int64"),
        features.one("image/filename", "bytes"),
        labels[0] if labels else -1,
    )


def _readable_index(serialized):
    """The image indices a faulty record has all the same, so that its own fault is not followed by
    others.
    """
    try:
        features = _features(serialized)
    except BadRecord:
        return np.empty(0, np.int64)
    return np.array(
        features.values("image/index", "int64") or features.values("index", "int64"), np.int64
    )


def _check_image(features, info):
    encoded = features.one("image/encoded", "bytes")
    jpeg.check(encoded, jpeg.read_header(encoded))
    size = _size_of(encoded, "JPEG", "image/encoded")
    noted = features.one("image/height", "int64"), features.one("image/width", "int64")
    if size != noted:
        raise BadRecord(
            f"the picture has {size[0]}x{size[1]} pixels, the record says {noted[0]}x{noted[1]}"
        )
    names = info.get("class_names") or []
    labels = features.values("image/class/label", "int64")
    _check_range("image/class/label", labels, -1, len(names))
    if len(labels) == 1 and labels[0] >= 0 and "image/class/text" in features:
        text = features.one("image/class/text", "bytes")
        if text != names[labels[0]].encode():
            raise BadRecord(
                f"label {labels[0]} is called {decoding.printable(text)!r}, the manifest says "
                f"{names[labels[0]]!r}"
            )
    _check_objects(features, len(names))
    mask = features.values("image/segmentation/class/encoded", "bytes")
    if mask and mask[0] and (found := _size_of(mask[0], "PNG", "the mask")) != size:
        raise BadRecord(
            f"the mask has {found[0]}x{found[1]} pixels, the picture {size[0]}x{size[1]}"
        )
    return np.array([features.one("image/index", "int64")], np.int64)


def _size_of(encoded, image_format, what):
    """(Height, width) of a picture; a PNG's checksums are looked at too."""
    try:
        image = Image.open(io.BytesIO(encoded), formats=[image_format])
        image.verify()
    except Exception as error:  # Decoders raise anything on hostile bytes.
        raise BadRecord(f"{what} is no {image_format}") from error
    return image.height, image.width


def _check_objects(features, num_classes):
    columns = [features.values(f"image/object/bbox/{corner}", "float") for corner in _CORNERS]
    labels = features.values("image/object/class/label", "int64")
    lengths = {len(column) for column in columns} | (
        {len(labels)} if "image/object/class/label" in features else set()
    )
    if len(lengths) > 1:
        raise BadRecord(f"boxes and their labels differ in number: {sorted(lengths)}")
    boxes = np.array(columns, np.float64)
    if boxes.size and not (
        np.isfinite(boxes).all()
        and boxes.min() >= 0
        and boxes.max() <= 1
        and (boxes[:2] <= boxes[2:]).all()
    ):
        raise BadRecord("a box outside the picture or inside out")
    _check_range("image/object/class/label", labels, 0, num_classes)


def _check_range(key, values, least, end):
    wrong = next((value for value in values if not least <= value < end), None)
    if wrong is not None:
        raise BadRecord(f"{key} is {wrong}, there are {end} classes")


def _check_features(features, info):
    index = np.array(features.values("index", "int64"), np.int64)
    data, dtype = features.one("feature", "bytes"), np.dtype(info["dtype"]).newbyteorder("<")
    if len(data) != len(index) * info["dim"] * dtype.itemsize:
        raise BadRecord(f"{len(data)} bytes for {len(index)} rows of {info['dim']} {info['dtype']}")
    finite = np.isfinite(np.frombuffer(data, dtype)).all()
    if not finite:
        raise BadRecord("NaN or infinity among its features")
    return index


def _check_pseudo_label(features, info):
    label, distance = features.one("label", "int64"), features.one("distance", "float")
    if not 0 <= label < info["num_clusters"]:
        raise BadRecord(f"label is {label}, there are {info['num_clusters']} clusters")
    if not 0 <= distance < np.inf:
        raise BadRecord(f"distance is {distance}")
    return np.array([features.one("index", "int64")], np.int64)


def _check_proposals(features, info):
    values = features.values("boxes", "int64")
    boxes = np.reshape(values[: len(values) // 4 * 4], [-1, 4])
    most = info.get("max_proposals") or len(boxes)
    if len(values) % 4 or len(boxes) > most:
        raise BadRecord(f"{len(values)} corners, four times at most {most} expected")
    if len(boxes) and not (boxes.min() >= 1 and (boxes[:, :2] <= boxes[:, 2:]).all()):
        raise BadRecord("a box outside the picture or inside out")
    return np.array([features.one("index", "int64")], np.int64)


_CHECKS = {
    "images": _check_image,
    "features": _check_features,
    "pseudo_labels": _check_pseudo_label,
    "proposals": _check_proposals,
}

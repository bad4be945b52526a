"""What a directory of shards holds: counts, sizes, digests and a fingerprint, written last and
trusted alone.

This module does not import TensorFlow.
"""

import dataclasses
import json
import pathlib
import re

from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import MANIFEST_NAME, fingerprint_of, write_json

SCHEMA_VERSION = 1


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """Returns e.g. `train-00007-of-00128.tfrecord`."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One finished shard: file name, examples, bytes, SHA-256 (hex)."""

    name: str
    num_examples: int
    num_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of one directory of shards.

    Attributes:
      kind: "images", "features", "pseudo_labels" or "proposals".
      splits: split name -> shards in order.
      info: facts of the kind: for images `class_names` (list or None) and `source`; for features
        `dim`, `dtype`, `extractor`, `images_fingerprint`, ...; for pseudo-labels `num_clusters`,
        `images_fingerprint`, ...

    >>> from ccssl_tf import Manifest
    >>> manifest = Manifest.read(data_dir, "images")
    >>> manifest.num_examples("train")
    48
    """

    kind: str
    splits: dict[str, list[Shard]]
    info: dict

    def num_examples(self, split: str) -> int:
        """Returns the number of examples in `split`."""
        return sum(shard.num_examples for shard in self.shards(split))

    def shards(self, split: str) -> list[Shard]:
        """Returns the shards of `split`; raises InputError naming the splits there are."""
        if split not in self.splits:
            raise InputError(
                f"no split {split!r} in these {self.kind}: there are "
                f"{', '.join(sorted(self.splits)) or 'none'}"
            )
        return self.splits[split]

    def fingerprint(self, split: str | None = None) -> str:
        """Returns a digest of the content of one split, or of everything but `data_dir`, which says
        where and not what.
        """
        if split is not None:
            return fingerprint_of([self.kind, [shard.sha256 for shard in self.shards(split)]])
        info = {name: value for name, value in self.info.items() if name != "data_dir"}
        return fingerprint_of(
            [self.kind, {name: self.fingerprint(name) for name in self.splits}, info]
        )

    def write(self, directory):
        """Writes `manifest.json`: the last file of a finished directory."""
        splits = {
            name: [dataclasses.asdict(shard) for shard in shards]
            for name, shards in self.splits.items()
        }
        content = dict(
            schema_version=SCHEMA_VERSION,
            kind=self.kind,
            splits=splits,
            info=self.info,
            fingerprint=self.fingerprint(),
        )
        # The fingerprint is of what the shards hold; the checksum guards the rest of the file, such
        # as the counts.
        write_json(
            pathlib.Path(directory) / MANIFEST_NAME, dict(content, checksum=fingerprint_of(content))
        )

    @classmethod
    def read(cls, directory, kind: str | None, *, check_shards: bool = True) -> "Manifest":
        """Reads and checks `directory/manifest.json`.

        Args:
          directory: where it lies.
          kind: what it must hold; None for anything.
          check_shards: whether every shard must be there and have its size.

        Raises:
          InputError: no such directory, or it holds another kind of data.
          CorruptArtifactError: no manifest, an edited one, one of another schema, or shards missing
            or of another size.
        """
        directory = pathlib.Path(directory)
        path = directory / MANIFEST_NAME
        if not directory.is_dir():
            raise InputError(
                f"{directory}: no such directory (expected one holding {kind or 'a manifest'})"
            )
        if not path.is_file():
            raise CorruptArtifactError(
                f"{directory}: no {MANIFEST_NAME}; {_how_to_make_one(directory)}"
            )
        try:
            raw = json.loads(path.read_text())
            version = raw["schema_version"]
            if version != SCHEMA_VERSION:
                raise CorruptArtifactError(
                    f"{path}: schema version {version}, this program reads {SCHEMA_VERSION}; "
                    "convert again"
                )
            splits = {
                name: [Shard(**shard) for shard in shards] for name, shards in raw["splits"].items()
            }
            manifest = cls(raw["kind"], splits, raw["info"])
            checksum = raw.pop("checksum", None)
            unchanged = raw["fingerprint"] == manifest.fingerprint() and checksum in (
                None,
                fingerprint_of(raw),
            )
        except (
            KeyError,
            TypeError,
            AttributeError,
            json.JSONDecodeError,
            UnicodeDecodeError,
        ) as error:
            raise CorruptArtifactError(
                f"{path}: not a manifest ({error}); write the directory again"
            ) from error
        if not unchanged:
            raise CorruptArtifactError(
                f"{path}: its content does not match its fingerprint and checksum; it was edited "
                "or damaged"
            )
        if kind not in (None, manifest.kind):
            raise InputError(f"{directory}: holds {manifest.kind}, not {kind}")
        for shards in splits.values() if check_shards else []:
            for shard in shards:
                file = directory / shard.name
                size = file.stat().st_size if file.is_file() else None
                if size != shard.num_bytes:
                    state = (
                        "is missing"
                        if size is None
                        else f"has {size} bytes instead of {shard.num_bytes}"
                    )
                    raise CorruptArtifactError(f"{file}: {state}; write the directory again")
        return manifest


def _how_to_make_one(directory: pathlib.Path) -> str:
    """Returns what to do with a directory without manifest, by what it holds."""
    names = [path.name for path in directory.iterdir()]
    unfinished = "the command that writes it has not finished there"
    if any(".tmp-" in name or name in ("run.json", "flags.txt") for name in names):
        return unfinished
    if any(re.search(r"\.tfrecord|\.record|-\d{5}-of-\d{5}", name) for name in names):
        return (
            f"{unfinished}; TFRecords that another program wrote are converted by python -m "
            f"data_prep.tfrecord_import --source={directory} --output_dir=DIR"
        )
    return (
        f"{unfinished}; folders of images are converted by python -m data_prep.image_folder "
        f"--source={directory} --output_dir=DIR"
    )

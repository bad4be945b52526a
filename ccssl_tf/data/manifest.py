"""What a directory of shards holds: counts, sizes, digests and a fingerprint, written last and
trusted alone.

This module does not import TensorFlow.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import re

from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import (
    MANIFEST_NAME,
    fingerprint_of,
    is_temporary,
    sample_sha256,
    write_json,
)
from ccssl_tf.runs.json_files import form_fault, read_json

SCHEMA_VERSION = 1
_REMEDY = "write the directory again"
_COUNT = range(1 << 63)
# Of a `Shard` in a JSON file, see `ccssl_tf.runs.json_files`.
SHARD_FORM = dict(
    name=str, num_examples=_COUNT, num_bytes=_COUNT, sha256=str, sample_sha256=(str, None)
)
_FORM = dict(kind=str, splits={str: [SHARD_FORM]}, info=dict, fingerprint=str)
# Shards looked at together: what takes time is to open files that lie on other machines.
_OPENED = 8


def shard_name(split: str, shard: int, num_shards: int) -> str:
    """Returns e.g. `train-00007-of-00128.tfrecord`."""
    return f"{split}-{shard:05d}-of-{num_shards:05d}.tfrecord"


@dataclasses.dataclass(frozen=True)
class Shard:
    """One finished shard.

    Attributes:
      name: of its file.
      num_examples, num_bytes: how many it has.
      sha256: of its bytes, hex.
      sample_sha256: of some of its bytes (see `ccssl_tf.runs.files.sample_sha256`), by which every
        command tells it from another shard before it starts to work; None in directories of older
        versions, where `data_prep.verify` alone can tell.
    """

    name: str
    num_examples: int
    num_bytes: int
    sha256: str
    sample_sha256: str | None = None

    def fault(self, directory: pathlib.Path) -> str | None:
        """Returns what tells the file in `directory` from the shard that was written, None for
        nothing: it is there, has its size and the sampled bytes.
        """
        path = directory / self.name
        if not path.is_file():
            return "is missing"
        size = path.stat().st_size
        if size != self.num_bytes:
            return f"has {size} bytes instead of {self.num_bytes}"
        if self.sample_sha256 not in (None, sample_sha256(path)):
            return "holds other records than were written there"
        return None


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
        # The fingerprint is of what the shards hold; the file's checksum guards the rest of it,
        # such as the counts.
        write_json(pathlib.Path(directory) / MANIFEST_NAME, content)

    @classmethod
    def read(cls, directory, kind: str | None, *, check_shards: bool = True) -> "Manifest":
        """Reads and checks `directory/manifest.json`.

        Args:
          directory: where it lies.
          kind: what it must hold; None for anything.
          check_shards: whether every shard must be there and be the one written, as far as its
            size and a few of its bytes tell.

        Raises:
          InputError: no such directory, or it holds another kind of data.
          CorruptArtifactError: no manifest, an edited one, one of another schema, without a fact
            that this kind of data has, with names of files elsewhere, or shards missing, of another
            size or with other records.
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
        raw = read_json(path, _FORM, remedy=_REMEDY, schema_version=SCHEMA_VERSION)
        fault = form_fault(raw["info"], _info_form(raw["kind"], raw["splits"]), "info")
        if fault:
            raise CorruptArtifactError(f"{path}: damaged ({fault}); {_REMEDY}")
        manifest = cls(raw["kind"], _shards(path, raw["splits"]), raw["info"])
        if raw["fingerprint"] != manifest.fingerprint():
            raise CorruptArtifactError(
                f"{path}: its content does not match its fingerprint; it was edited or "
                f"damaged; {_REMEDY}"
            )
        if kind not in (None, manifest.kind):
            raise InputError(f"{directory}: holds {manifest.kind}, not {kind}")
        if check_shards:
            manifest._refuse_other_shards(directory)
        return manifest

    def _refuse_other_shards(self, directory):
        shards = [shard for part in self.splits.values() for shard in part]
        with concurrent.futures.ThreadPoolExecutor(_OPENED) as threads:
            faults = threads.map(lambda shard: shard.fault(directory), shards)
            for shard, fault in zip(shards, faults, strict=True):
                if fault:
                    raise CorruptArtifactError(f"{directory / shard.name}: {fault}; {_REMEDY}")


def _info_form(kind, splits) -> dict:
    """Returns the form of the facts that the readers of a kind of data rely on."""
    count = range(1, 1 << 31)
    of_images = dict(images_fingerprint=dict.fromkeys(splits, str))
    forms: dict[str, dict] = dict(
        images=dict(class_names=([str], None)),
        features=dict(dim=count, dtype={"float16", "float32"}),
        pseudo_labels=dict(of_images, num_clusters=count, num_nearest=(range(1 << 31), None)),
        proposals=dict(of_images, max_proposals=(count, None)),
    )
    return forms.get(kind, {})


def _shards(path, splits) -> dict[str, list[Shard]]:
    """Returns the shards of every split; raises CorruptArtifactError."""
    known = {field.name for field in dataclasses.fields(Shard)}
    for shard in (shard for shards in splits.values() for shard in shards):
        name = shard["name"]
        if os.path.basename(name) != name or name in ("", ".", "..") or "\0" in name:
            raise CorruptArtifactError(
                f"{path}: names the shard {ascii(name)[:100]}, which is no file of this directory; "
                f"{_REMEDY}"
            )
        if unknown := sorted(shard.keys() - known):
            raise CorruptArtifactError(
                f"{path}: {ascii(unknown[0])[:60]} of {name} is of another version of this "
                f"program; {_REMEDY}"
            )
    return {name: [Shard(**shard) for shard in shards] for name, shards in splits.items()}


def _how_to_make_one(directory: pathlib.Path) -> str:
    """Returns what to do with a directory without manifest, by what it holds."""
    names = [path.name for path in directory.iterdir()]
    unfinished = "the command that writes it has not finished there"
    if any(is_temporary(name) or name in ("run.json", "flags.txt") for name in names):
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

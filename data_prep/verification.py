"""Checks a whole directory that this project wrote: shards against their manifest (files, digests,
every record, dense image indices), every other file against the digest it was given.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import multiprocessing
import os
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from ccssl_tf.data import image_list
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.runs.digests import Digests
from ccssl_tf.runs.errors import CorruptArtifactError
from ccssl_tf.runs.files import MANIFEST_NAME, file_sha256, is_temporary
from ccssl_tf.runs.json_files import read_json
from ccssl_tf.runs.progress import Progress
from ccssl_tf.runs.run_record import DONE_NAME
from data_prep import record_checks, worker_pool

_UNITS = {
    "images": "images",
    "features": "rows",
    "pseudo_labels": "labels",
    "proposals": "images' proposals",
}


@dataclasses.dataclass(frozen=True)
class Result:
    """Attributes: faults: one line each, the first of every shard; num_faults: all there are;
    summary: what was checked; not_judged: names of the files that have no digest.
    """

    faults: list[str]
    num_faults: int
    summary: str
    not_judged: list[str]


def read_manifest(directory: pathlib.Path) -> manifest_lib.Manifest:
    """Returns the manifest, whatever its kind and the state of its shards; one without shards for a
    finished run that has written none.

    Raises:
      CorruptArtifactError: it was edited or damaged, or there is neither a manifest nor a run.
    """
    is_run = (directory / DONE_NAME).is_file()
    if is_run and not {MANIFEST_NAME} & {*Digests(directory).names, *os.listdir(directory)}:
        return manifest_lib.Manifest("files", {}, {})
    manifest = manifest_lib.Manifest.read(directory, None, check_shards=False)
    if manifest.kind not in _UNITS:
        raise CorruptArtifactError(
            f"{directory}: its manifest is of the unknown kind {manifest.kind!r}"
        )
    return manifest


def describe(directory: pathlib.Path, manifest: manifest_lib.Manifest) -> str:
    """Returns e.g. `15000 train, 3000 val images in 18 shards, 34.2 MB; 8 other files`."""
    shards = [shard for part in manifest.splits.values() for shard in part]
    others = len(Digests(directory).names - {shard.name for shard in shards})
    if not shards:
        return f"{others} files"
    counts = ", ".join(f"{manifest.num_examples(split)} {split}" for split in manifest.splits)
    return (
        f"{counts} {_UNITS[manifest.kind]} in {len(shards)} shards, "
        f"{sum(shard.num_bytes for shard in shards) / 1e6:.4g} MB; {others} other files"
    )


def verify(
    directory: pathlib.Path, *, num_workers: int, stopped: Callable[[], bool] = lambda: False
) -> Result:
    """Reads everything.

    Args:
      directory: holds a manifest and shards, or a finished run; nothing is written to it.
      num_workers: processes.
      stopped: tells whether to stop.

    Raises:
      InputError: no such directory.
      CorruptArtifactError: neither manifest nor finished run, or the manifest or the file of the
        digests was edited: nothing else can be checked.
      Interrupted: `stopped()`.
    """
    directory = pathlib.Path(directory)
    manifest, digests = read_manifest(directory), Digests(directory)
    reports = _check_shards(directory, manifest, num_workers, stopped) if manifest.splits else {}
    _name_what_is_elsewhere(manifest, reports)
    faults, count = [], 0
    for shards in manifest.splits.values():
        for fault in _index_faults([reports[shard.name] for shard in shards]):
            reports[fault[0]].add(fault[1])
    for report in reports.values():
        faults += [f"{report.name}: {fault}" for fault in report.faults]
        count += report.num_faults
    others = [
        *_extra_files(directory, manifest, reports),
        *_tfds_faults(directory, manifest),
        *_list_faults(directory, manifest, reports),
    ]
    others += digests.faults(besides={*reports, *(fault.split(":")[0] for fault in others)})
    not_judged = [
        name for name in digests.not_judged() if name not in reports and name != MANIFEST_NAME
    ]
    return Result(faults + others, count + len(others), describe(directory, manifest), not_judged)


def _check_shards(directory, manifest, num_workers, stopped):
    shards = [shard for part in manifest.splits.values() for shard in part]
    total, done, reports = sum(shard.num_examples for shard in shards), 0, {}
    progress = Progress("verifying", total, _UNITS[manifest.kind], starting="workers")
    counter = multiprocessing.get_context("spawn").Value("q", 0)
    with worker_pool.open_pool(min(num_workers, max(1, len(shards))), counter) as pool:
        tasks = [
            pool.submit(record_checks.check_shard, directory, shard, manifest.kind, manifest.info)
            for shard in shards
        ]
        sizes = {shard.name: shard.num_examples for shard in shards}
        for report in worker_pool.completed(tasks, stopped):
            reports[report.name] = report
            done += sizes[report.name]
            progress.update(done)
    return {shard.name: reports[shard.name] for shard in shards}


def _name_what_is_elsewhere(manifest, reports):
    """Says of a shard with another one's content whose it is."""
    owner = {shard.sha256: shard.name for part in manifest.splits.values() for shard in part}
    for report in reports.values():
        other = owner.get(report.sha256)
        if other not in (None, report.name) and report.num_faults:
            report.add(f"holds the content of {other}: shards were renamed or swapped")


def _index_faults(reports) -> Iterator[tuple[str, str]]:
    """Yields (shard, fault) for indices outside [0, N) or there twice; N distinct ones in that
    range leave none out.
    """
    index = np.concatenate([np.empty(0, np.int64), *(report.index for report in reports)])
    record = np.concatenate([np.empty(0, np.int64), *(report.record for report in reports)])
    shard = np.repeat(np.arange(len(reports)), [len(report.index) for report in reports])
    # Where shards are missing or cut the true number of images is not known, and their own faults
    # are told already.
    end = (
        len(index)
        if all(report.sha256 and not report.num_faults for report in reports)
        else np.iinfo(np.int64).max
    )
    _, first = np.unique(index, return_index=True)
    repeated = np.ones(len(index), bool)
    repeated[first] = False
    for row in np.flatnonzero(repeated | (index < 0) | (index >= end)):
        why = "is there twice" if repeated[row] else f"lies outside [0, {len(index)})"
        yield reports[shard[row]].name, f"record {record[row]}: image index {index[row]} {why}"


def _extra_files(directory, manifest, reports):
    owner = {shard.sha256: shard.name for part in manifest.splits.values() for shard in part}
    whole = all(not report.num_faults for report in reports.values())
    for path in sorted(directory.glob("*.tfrecord")):
        if path.name not in reports and not is_temporary(path.name):
            same = None if whole else owner.get(file_sha256(path))
            yield f"{path.name}: not in the manifest" + (
                f"; it holds the content of {same}" if same else "; remove it"
            )


def _tfds_faults(directory, manifest):
    path = directory / "dataset_info.json"
    if manifest.kind != "images" or not path.is_file():
        return
    lengths = None
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        lengths = {
            split["name"]: [int(length) for length in split["shardLengths"]]
            for split in read_json(path, remedy="")["splits"]
        }
    if lengths != {
        split: [shard.num_examples for shard in shards] for split, shards in manifest.splits.items()
    }:
        yield f"{path.name}: its shard lengths are not the manifest's; it was edited or damaged"


def _list_faults(directory, manifest, reports):
    """Compares images.csv, where there is one, with the records of whole shards."""
    if manifest.kind != "images" or not (directory / image_list.NAME).is_file():
        return
    try:
        rows = image_list.read(directory)
        for split, shards in manifest.splits.items():
            for shard in shards:
                digest = hashlib.sha256()
                for fields in itertools.islice(rows, shard.num_examples):
                    index, name, its_split, label, _ = fields
                    known = its_split == split
                    digest.update(
                        record_checks.listed_row(
                            int(index) if known else -1, image_list.filename_of(name), int(label)
                        )
                    )
                report = reports[shard.name]
                if digest.hexdigest() != report.listed and not report.num_faults:
                    yield f"{image_list.NAME}: its rows are not those of the images of {shard.name}"
        if next(rows, None) is not None:
            yield f"{image_list.NAME}: has more rows than there are images"
    except (CorruptArtifactError, ValueError) as error:
        yield f"{image_list.NAME}: {error}"

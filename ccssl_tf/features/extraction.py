"""Writes feature shards, one for each image shard.

Finished ones are kept when a killed run is started again. Of several workers each writes every n-th
shard and notes it in a file of its own; the chief then writes the manifest.
"""

import contextlib
import pathlib
import queue
import threading

import numpy as np

from ccssl_tf import distribution
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.data.feature_directory import feature_records
from ccssl_tf.features.precision import StoredPrecision, chosen_dtype
from ccssl_tf.runs.errors import CorruptArtifactError, InputError, Interrupted
from ccssl_tf.runs.files import file_sha256, write_json
from ccssl_tf.runs.json_files import read_json
from ccssl_tf.runs.progress import Progress
from ccssl_tf.task import Extractor

_FINISHED = "finished_shards{}.json"
_CHOSEN_DTYPE = "chosen_dtype.json"
_NOTES = dict(shards=[manifest_lib.SHARD_FORM])
_REMEDY = "remove it to extract again"
# Batches, so that a slow disk does not stop the network.
_AHEAD = 4


def extract_features(
    extractor: Extractor,
    data_dir,
    split: str,
    directory,
    *,
    dtype: str = "auto",
    should_stop=None,
    strategy=None,
) -> manifest_lib.Manifest:
    """Extracts the features of every image of a split.

    Decoding and the network work ahead in threads, up to four batches, while this thread writes.

    Args:
      extractor: what makes the rows.
      data_dir: image shards.
      split: split name.
      directory: made if absent; feature shards already finished there are kept after their
        digest is checked.
      dtype: what rows are stored as, "float16" or "float32"; "auto": float16 where it keeps what
        tells some of the rows apart, see `precision`.
      should_stop: asked after each batch; True ends the work with Interrupted.
      strategy: a tf.distribute strategy whose workers share the shards, in a directory all of them
        see; the current one by default.

    Returns:
      The manifest, also written.

    Raises:
      InputError: no such split, or an empty one; float16 loses too much.
      CorruptArtifactError: NaN or infinity in the features of a shard; the message says how many,
        and the first record with some.
      Interrupted: `should_stop` said so; a later call continues with the shard it was in.

    >>> from ccssl_tf import EndpointExtractor, extract_features, load_backbone
    >>> extractor = EndpointExtractor(load_backbone(teacher), image_size=32, pool_grid=2)
    >>> extract_features(extractor, data_dir, "val", workdir).info["dim"]
    extract ...
    160
    """
    directory = pathlib.Path(directory)
    images = manifest_lib.Manifest.read(data_dir, "images")
    shards = images.shards(split)
    if not images.num_examples(split):
        raise InputError(f"{data_dir}: split {split} is empty; there is nothing to extract")
    directory.mkdir(parents=True, exist_ok=True)
    names = [manifest_lib.shard_name(split, number, len(shards)) for number in range(len(shards))]
    worker, workers = distribution.worker(strategy)
    _prepare(extractor, data_dir, split, directory, should_stop, strategy)
    if dtype == "auto":
        dtype = _noted_dtype(extractor, data_dir, split, shards, directory, strategy)
    of_worker = range(worker, len(names), workers)
    notes = directory / _FINISHED.format(f"-{worker}" if worker else "")
    noted = _noted_shards(directory)
    whole = {
        names[number] for number in of_worker if _is_whole(directory, noted.get(names[number]))
    }
    missing = [number for number in of_worker if names[number] not in whole]
    finished = {
        name: shard
        for name, shard in noted.items()
        if name in whole or name not in {names[number] for number in of_worker}
    }
    done = sum(finished[name].num_examples for name in whole)
    progress = Progress(
        "extract", sum(shards[number].num_examples for number in of_worker), "images", done=done
    )
    with contextlib.closing(ReadAhead(extractor.batches(data_dir, split, missing))) as ahead:
        batches = iter(ahead)
        for number in missing:
            path = directory / names[number]

            def rows(size=shards[number].num_examples, path=path, done=done):
                count, precision = 0, StoredPrecision()
                while count < size and (batch := next(batches, None)):
                    if should_stop and should_stop():
                        raise Interrupted(
                            "interrupted; the same command continues with the shard it was in"
                        )
                    index, features = batch
                    stored = _stored(features, dtype, path, index, count)
                    if dtype == "float16":
                        precision.add(features)
                    count += len(index)
                    progress.update(done + count)
                    yield index, stored
                if fault := precision.fault():
                    raise InputError(
                        f"{path}: {fault}; store float32 (--feature_dtype=float32, of probes "
                        "--nocache_features)"
                    )
                if count != size:
                    raise CorruptArtifactError(
                        f"{path}: {count} rows for the {size} images its shard should have; "
                        "convert them again"
                    )

            finished[path.name] = records.write_shard(
                path, feature_records(rows()), num_examples=shards[number].num_examples
            )
            write_json(notes, dict(shards=[vars(shard) for shard in finished.values()]))
            done += shards[number].num_examples
    distribution.wait_for_workers(strategy)
    finished |= _noted_shards(directory) if workers > 1 else {}
    unseen = sorted(set(names) - set(finished))
    if unseen:
        raise InputError(
            f"{directory}: {unseen[0]} of another worker is not there; --workdir must be storage "
            "that all workers share"
        )
    info = dict(
        dim=extractor.dim,
        dtype=dtype,
        images_fingerprint=images.fingerprint(split),
        images_source=images.info.get("source"),
        data_dir=str(data_dir),
        split=split,
        **extractor.describe(),
    )
    manifest = manifest_lib.Manifest("features", {split: [finished[name] for name in names]}, info)
    distribution.wait_for_workers(strategy)
    if worker == 0:
        manifest.write(directory)
        for path in [*directory.glob(_FINISHED.format("*")), directory / _CHOSEN_DTYPE]:
            path.unlink(missing_ok=True)
    return manifest


def _noted_dtype(extractor, data_dir, split, shards, directory, strategy):
    """Returns the type of the rows, which the chief chooses and notes, before the first shard."""
    note = directory / _CHOSEN_DTYPE
    if distribution.is_chief(strategy) and not note.is_file():
        first = next(number for number, shard in enumerate(shards) if shard.num_examples)
        batches = extractor.batches(data_dir, split, [first])
        dtype = chosen_dtype(features for _, features in batches)
        if dtype == "float32":
            print("extract  as float32: float16 would lose what tells rows apart", flush=True)
        write_json(note, dict(dtype=dtype))
    distribution.wait_for_workers(strategy)
    return read_json(note, dict(dtype={"float16", "float32"}), remedy=_REMEDY)["dtype"]


def _prepare(extractor, data_dir, split, directory, should_stop, strategy):
    """Lets the chief's extractor learn what it needs; the others' then find it in the directory."""
    for turn in (True, False):
        if distribution.is_chief(strategy) == turn:
            extractor.prepare(data_dir, split, directory, should_stop)
        distribution.wait_for_workers(strategy)


class ReadAhead:
    """Iterates `iterable` in a thread that starts at once and stays up to four items ahead."""

    def __init__(self, iterable):
        self._queue, self._closed = queue.Queue(maxsize=_AHEAD), threading.Event()
        self._thread = threading.Thread(target=self._run, args=[iterable], daemon=True)
        self._thread.start()

    def _run(self, iterable):
        try:
            for item in iterable:
                if not self._put((item, None)):
                    return
            self._put((None, StopIteration()))
        except BaseException as error:
            self._put((None, error))

    def _put(self, item):
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self):
        while True:
            item, error = self._queue.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item

    def close(self):
        """Ends the thread."""
        self._closed.set()
        self._thread.join()


def _stored(features, dtype, path, index, first_record):
    """Returns the rows in the number format of the shard.

    Raises:
      CorruptArtifactError: some are not finite; the message names the first one's record.
    """
    limit = np.finfo(dtype).max
    # Largest and smallest, which are NaN where there is one, tell sooner than looking at every
    # half-precision number.
    if -limit <= features.min() and features.max() <= limit:
        return features.astype(dtype)
    with np.errstate(over="ignore"):
        stored = features.astype(dtype)
    wrong = ~np.isfinite(stored)
    if wrong.any():
        row = int(np.argmax(wrong.any(axis=1)))
        finite = np.isfinite(features).all()
        larger = "--feature_dtype=float32 holds larger numbers"
        diverged = "the array has them, or the network or its training diverged"
        advice = (larger if np.dtype(dtype) == np.float16 else "scale them") if finite else diverged
        what = f"are too large for {dtype}" if finite else "are NaN or infinite"
        raise CorruptArtifactError(
            f"{path}: {wrong.sum()} of {stored.size} features of a batch "
            f"{what}, the first of record "
            f"{first_record + row} (image/index {index[row]}): {advice}"
        )
    return stored


def _noted_shards(directory):
    """Returns name -> Shard of the shards some worker has noted as finished."""
    noted = {}
    for path in sorted(directory.glob(_FINISHED.format("*"))):
        try:
            content = read_json(path, (_NOTES, _NOTES["shards"]), remedy=_REMEDY)
            # Version 0.1 wrote the list alone.
            shards = content if isinstance(content, list) else content["shards"]
            noted |= {shard["name"]: manifest_lib.Shard(**shard) for shard in shards}
        except TypeError as error:
            raise CorruptArtifactError(f"{path}: of another version; {_REMEDY}") from error
    return noted


def _is_whole(directory, shard):
    """Whether the shard is there with the size and digest noted when it was finished."""
    path = shard and directory / shard.name
    return bool(
        path
        and path.is_file()
        and path.stat().st_size == shard.num_bytes
        and file_sha256(path) == shard.sha256
    )

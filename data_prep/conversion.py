"""The one conversion every converter runs: images listed once, permuted, cut into shards, written
by parallel processes.

Images are numbered densely in written order; `shard_plan` says which. A shard is finished once its
sidecar file with its digest is there; a killed conversion continues at the first missing shard and
ends with the bytes of an undisturbed one, whatever the number of processes. Sidecars go when the
whole directory is done.
"""

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import pathlib
import shutil
from collections import Counter
from collections.abc import Callable, Sequence

from ccssl_tf.data import image_list
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.runs.errors import InputError, ResourceError
from ccssl_tf.runs.files import sweep_temporary_files, write_bytes
from ccssl_tf.runs.progress import Progress
from data_prep import beam_pipeline, decoding, shard_plan, shard_worker, worker_pool
from data_prep.image_set import ImageSet
from data_prep.shard_worker import ShardRecord

_WORKER_START_SECONDS = 7.0
_LISTED_NAMES = 20
SIDECARS = "*.tfrecord.json"


class Conversion:
    """One image set on its way into one directory."""

    def __init__(
        self,
        image_set: ImageSet,
        output_dir: pathlib.Path,
        *,
        decode_options: decoding.DecodeOptions,
        max_bad_images: int | None,
        seed: int,
        num_workers: int,
        options: dict,
        beam_options: Sequence[str] | None = None,
    ):
        """Plans the shards; writes nothing.

        Args:
          image_set: what the converter found.
          output_dir: where the shards go.
          decode_options: which images are accepted and how they are stored.
          max_bad_images: broken images left out before giving up; None: five in a hundred.
          seed: of the order.
          num_workers: processes.
          options: the converter's own options, for the manifest.
          beam_options: of the Beam pipeline that converts; None: processes of this machine do.

        Raises:
          InputError: a split has no images, or there is none.
        """
        empty = [name for name, items in image_set.splits.items() if not items]
        if empty or not image_set.splits:
            raise InputError(
                f"the source holds no images{' for ' + ', '.join(empty) if empty else ''}"
            )
        self._set, self._directory, self._beam_options = image_set, output_dir, beam_options
        self._options = dict(options, seed=seed, **dataclasses.asdict(decode_options))
        images = sum(map(len, image_set.splits.values()))
        self._max_bad = images // 20 if max_bad_images is None else max_bad_images
        self._num_workers = num_workers
        ratio, self._seconds_per_image = shard_plan.convert_sample(image_set, decode_options, seed)
        self._bytes = {
            name: ratio * sum(item.size for item in items)
            for name, items in image_set.splits.items()
        }
        self._tasks = {
            name: shard_plan.plan_split(
                image_set, name, output_dir, decode_options, num_bytes=num_bytes, seed=seed
            )
            for name, num_bytes in self._bytes.items()
        }

    @property
    def _all_tasks(self):
        return [task for tasks in self._tasks.values() for task in tasks]

    def announce(self):
        """Prints what will be read, written and spent; raises ResourceError when the disk clearly
        has no room for it.
        """
        counts = ", ".join(f"{len(items)} {name}" for name, items in self._set.splits.items())
        classes = f"{len(self._set.class_names)} classes" if self._set.class_names else "no labels"
        size = sum(self._bytes.values())
        existing = next(
            path
            for path in (self._directory.absolute(), *self._directory.absolute().parents)
            if path.exists()
        )
        free = shutil.disk_usage(existing).free
        written = sum(path.stat().st_size for path in self._directory.glob("*.tfrecord"))
        images = sum(map(len, self._set.splits.values()))
        seconds = _WORKER_START_SECONDS + images * self._seconds_per_image / self._num_workers
        print(
            f"{counts} images, {classes}; to write about {_readable(size)} in "
            f"{len(self._all_tasks)} shards ({_readable(free)} free); "
            + (
                f"about {seconds:.0f} s with {self._num_workers} processes"
                if self._beam_options is None
                else "in a Beam pipeline"
            ),
            flush=True,
        )
        if size - written > free:
            needed = _readable(size - written)
            raise ResourceError(
                f"{existing}: {_readable(free)} free, about {needed} needed; free some or name "
                "another disk"
            )

    def convert(self, stopped: Callable[[], bool]) -> dict:
        """Writes the missing shards, the TFDS metadata and last the manifest; returns the metrics.

        Args:
          stopped: tells whether to stop; then Interrupted is raised and the same command continues.
        """
        records = self._finished_shards()
        tasks = [task for task in self._all_tasks if task.path.name not in records]
        if records:
            print(
                f"continuing: {len(records)} of {len(self._all_tasks)} shards are done", flush=True
            )
        keep = {task.path.name for task in self._all_tasks}
        for path in self._directory.glob("*.tfrecord"):
            if path.name not in keep:
                shard_worker.sidecar_path(path).unlink(missing_ok=True)
                path.unlink()
        total, left = (
            sum(len(task.items) for task in self._all_tasks),
            sum(len(task.items) for task in tasks),
        )
        counter = multiprocessing.get_context("spawn").Value("q", total - left)
        progress = Progress("converting", total, "images", done=total - left, starting="workers")
        self._check_bad(records)
        processes = min(self._num_workers, max(1, len(tasks)))
        sweep = functools.partial(sweep_temporary_files, self._directory)
        with worker_pool.open_pool(processes, counter, on_failure=sweep) as pool:

            def report():
                progress.update(min(counter.value, total - 1))

            for record in self._converted(pool, tasks, stopped, report):
                records[record.shard.name] = record
                self._check_bad(records)
            if tasks:
                progress.update(total)
            for record in worker_pool.completed(self._submit_renumbering(pool, records), stopped):
                records[record.shard.name] = record
            splits = {
                name: [records[task.path.name].shard for task in tasks]
                for name, tasks in self._tasks.items()
            }
            if empty := [
                name
                for name, shards in splits.items()
                if not any(shard.num_examples for shard in shards)
            ]:
                raise InputError(
                    f"every image of {', '.join(empty)} is bad ({self._listing(records)})"
                )
            pool.submit(
                shard_worker.write_tfds_metadata,
                self._directory,
                splits,
                self._set.class_names,
                self._set.annotator,
            ).result()
        return self._write_manifest(splits, records)

    def _converted(self, pool, tasks, stopped, report):
        if self._beam_options is None:
            yield from worker_pool.completed(
                [pool.submit(shard_worker.convert_shard, task) for task in tasks], stopped, report
            )
        elif tasks:
            # In a process of its own, which can be ended at any time and shares the counter with a
            # DirectRunner.
            pipeline = pool.submit(beam_pipeline.convert_shards, tasks, self._beam_options)
            for records in worker_pool.completed([pipeline], stopped, report):
                yield from records

    def _finished_shards(self):
        with concurrent.futures.ThreadPoolExecutor(self._num_workers) as threads:
            shards = threads.map(ShardRecord.read, [task.path for task in self._all_tasks])
        return {record.shard.name: record for record in shards if record is not None}

    def _submit_renumbering(self, pool, records):
        for tasks in self._tasks.values():
            first_index = 0
            for record in (records[task.path.name] for task in tasks):
                if record.first_index != first_index:
                    yield pool.submit(
                        shard_worker.renumber_shard, self._directory, record, first_index
                    )
                first_index += record.shard.num_examples

    def _check_bad(self, records):
        count = sum(len(record.bad) for record in records.values())
        if count > self._max_bad:
            raise InputError(
                f"{count} bad image{'s' * (count > 1)} so far, --max_bad_images={self._max_bad}: "
                f"{self._listing(records)}; "
                "allow more, and the same command continues, or mend them and name a new directory"
            )

    def _listing(self, records):
        bad = [entry for name in sorted(records) for entry in records[name].bad]
        shown = [
            f"{decoding.printable(bytes.fromhex(name))} ({why})"
            for _, name, why in bad[:_LISTED_NAMES]
        ]
        return ", ".join(shown) + (
            f" and {len(bad) - _LISTED_NAMES} more" if len(bad) > _LISTED_NAMES else ""
        )

    def _write_manifest(self, splits, records):
        ordered = [records[task.path.name] for task in self._all_tasks]
        reencoded = sum((Counter(record.reencoded) for record in ordered), Counter())
        bad = [entry for record in ordered for entry in record.bad]
        info = dict(
            self._set.info,
            class_names=self._set.class_names,
            source=self._set.source,
            options=self._options,
            reencoded=dict(reencoded),
            bad_images=len(bad),
        )
        if bad:
            lines = sorted(
                f"{decoding.printable(bytes.fromhex(name))}\t{why}\n" for _, name, why in bad
            )
            write_bytes(self._directory / "bad_images.txt", "".join(lines).encode())
            print(f"left out {len(bad)} bad images, listed in {self._directory / 'bad_images.txt'}")
        if reencoded:
            reasons = ", ".join(
                f"{reason} {count}"
                for reason, count in sorted(reencoded.items())
                if reason != "total"
            )
            quality = decoding.JPEG_QUALITY
            print(f"re-encoded {reencoded['total']} images at quality {quality} ({reasons})")
        image_list.write(self._directory, self._rows(records))
        manifest = manifest_lib.Manifest("images", splits, info)
        manifest.write(self._directory)
        return dict(
            images={name: manifest.num_examples(name) for name in splits},
            reencoded=dict(reencoded),
            bad_images=len(bad),
        )

    def _rows(self, records):
        """Yields the rows of images.csv in the order of the records."""
        for split, tasks in self._tasks.items():
            for record, task in ((records[task.path.name], task) for task in tasks):
                left_out = {position for position, *_ in record.bad}
                kept = (item for k, item in enumerate(task.items) if k not in left_out)
                for index, item in enumerate(kept, record.first_index):
                    yield image_list.row(index, item.name, split, item.label, self._set.class_names)


def remove_sidecars(directory: pathlib.Path):
    """Removes the shards' records: call it when the directory is complete."""
    for path in directory.glob(SIDECARS):
        path.unlink()


def _readable(num_bytes):
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"

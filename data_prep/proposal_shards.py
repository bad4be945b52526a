"""Writes the proposals of whole image directories: one shard of proposals for each shard of images,
in its order.
"""

import dataclasses
import itertools
import multiprocessing
import pathlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.progress import Progress
from data_prep import worker_pool
from data_prep.faults import Faults

_CHUNK_IMAGES = 8
_KIND = "proposals"


class Source(Protocol):
    """Where boxes come from; travels to the workers."""

    def boxes(self, parsed: dict[str, np.ndarray]) -> np.ndarray:
        """Returns the boxes [R, 4] of one parsed VOC record."""


@dataclasses.dataclass(frozen=True)
class ProposalTask:
    """One shard of proposals to write.

    Attributes:
      images: a shard of images.
      source: of the boxes.
      output_dir: existing directory.
      max_boxes: kept of an image.
    """

    images: pathlib.Path
    source: Source
    output_dir: pathlib.Path
    max_boxes: int


def search_images(task: ProposalTask, start: int, stop: int) -> int:
    """Lets the source see records [start, stop) of a shard, so that it remembers their boxes;
    returns how many.
    """
    from ccssl_tf.data import records

    for serialized in itertools.islice(records.read_shard(task.images), start, stop):
        task.source.boxes(_parse(serialized))
    return stop - start


def check_shard(task: ProposalTask) -> list[str]:
    """Returns what is wrong with the boxes of a shard's images, a line for each image."""
    from ccssl_tf.data import records

    faults = []
    for serialized in records.read_shard(task.images):
        try:
            task.source.boxes(_parse(serialized))
        except InputError as error:
            faults.append(str(error))
    return faults


class WrittenShard(NamedTuple):
    """A shard of proposals, how many boxes it holds, and how many images had none: they got the
    whole image, for training needs a region of each.
    """

    shard: manifest_lib.Shard
    num_boxes: int
    num_whole_images: int


def write_shard(task: ProposalTask) -> WrittenShard:
    """Writes one shard."""
    from ccssl_tf.data import proposal_records, records

    num_boxes = num_whole_images = 0

    def examples():
        nonlocal num_boxes, num_whole_images
        for serialized in records.read_shard(task.images):
            parsed = _parse(serialized)
            boxes = task.source.boxes(parsed)[: task.max_boxes]
            if not len(boxes):
                num_whole_images += 1
                boxes = np.array([[1, 1, parsed["width"], parsed["height"]]], np.int32)
            num_boxes += len(boxes)
            yield proposal_records.proposal_example(int(parsed["index"]), parsed["filename"], boxes)

    shard = records.write_shard(task.output_dir / task.images.name, examples())
    return WrittenShard(shard, num_boxes, num_whole_images)


def _parse(serialized):
    from ccssl_tf.data import voc_records

    parsed = voc_records.parse_voc_image(serialized)
    return {
        name: parsed[name].numpy() for name in ("encoded", "filename", "index", "height", "width")
    }


def write_proposals(
    data_dir: pathlib.Path,
    output_dir: pathlib.Path,
    source: Source,
    *,
    search_first: bool,
    max_boxes: int,
    info: dict,
    num_workers: int,
    stopped: Callable[[], bool],
) -> dict:
    """Writes proposals of all splits and last the manifest; returns metrics.

    Args:
      data_dir: images.
      output_dir: existing directory.
      source: of the boxes.
      search_first: whether boxes are slow to come by and remembered: then images are shared among
        the processes, not whole shards.
      max_boxes: kept of an image.
      info: more facts for the manifest.
      num_workers: processes.
      stopped: tells whether to stop; then Interrupted is raised and the same command continues.
    """
    images = manifest_lib.Manifest.read(data_dir, "images")
    # The split with the most images first: it may hold the others' too, which then need no search.
    order = sorted(images.splits, key=images.num_examples, reverse=True)
    shards = [shard for split in order for shard in images.shards(split)]
    tasks = {
        shard.name: ProposalTask(data_dir / shard.name, source, output_dir, max_boxes)
        for shard in shards
    }
    with worker_pool.open_pool(
        num_workers, multiprocessing.get_context("spawn").Value("q", 0)
    ) as pool:
        if search_first:
            _search(pool, tasks, shards, stopped)
        else:
            _check(pool, tasks, stopped)
        shards_written = worker_pool.completed(
            [pool.submit(write_shard, task) for task in tasks.values()], stopped
        )
        written = {one.shard.name: one for one in shards_written}
    splits = {
        split: [written[shard.name].shard for shard in images.shards(split)]
        for split in images.splits
    }
    if whole := sum(one.num_whole_images for one in written.values()):
        print(f"{whole} images without boxes got one, the whole image", flush=True)
    fingerprints = {split: images.fingerprint(split) for split in images.splits}
    manifest = manifest_lib.Manifest(
        _KIND, splits, dict(info, max_proposals=max_boxes, images_fingerprint=fingerprints)
    )
    manifest.write(output_dir)
    return {
        split: dict(
            images=manifest.num_examples(split),
            proposals=sum(written[shard.name].num_boxes for shard in images.shards(split)),
            whole_images=sum(
                written[shard.name].num_whole_images for shard in images.shards(split)
            ),
        )
        for split in splits
    }


def _check(pool, tasks, stopped):
    """Raises InputError with the faults of all boxes, before anything is written."""
    checks = [pool.submit(check_shard, task) for task in tasks.values()]
    faults = Faults("the boxes")
    for found in worker_pool.completed(checks, stopped):
        for fault in found:
            faults.add(fault)
    faults.refuse("mend the files")


def _search(pool, tasks, shards, stopped):
    done, total = 0, sum(shard.num_examples for shard in shards)
    progress = Progress("searching", total, "images", starting="workers")
    chunks = [
        pool.submit(
            search_images, tasks[shard.name], start, min(start + _CHUNK_IMAGES, shard.num_examples)
        )
        for shard in shards
        for start in range(0, shard.num_examples, _CHUNK_IMAGES)
    ]
    for count in worker_pool.completed(chunks, stopped):
        done += count
        progress.update(done)

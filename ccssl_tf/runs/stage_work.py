"""How many images the stages of a pipeline go over, told before it begins."""

import os
from collections.abc import Iterable

from ccssl_tf.runs import stage_graph
from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import CorruptArtifactError
from ccssl_tf.runs.files import MANIFEST_NAME
from ccssl_tf.runs.json_files import read_json

_MANIFEST_FORM = dict(splits={str: [dict(num_examples=range(1 << 63))]})
# Images of the published data sets, by converter and year, as their authors count them: ILSVRC2012,
# Places205, and PASCAL VOC's of 2007 with boxes and of 2012 with masks.
_PUBLISHED = {
    ("data_prep.imagenet", None): dict(train=1_281_167, val=50_000),
    ("data_prep.places", None): dict(train=2_448_873, val=20_500),
    ("data_prep.voc", "2007"): dict(train=2_501, val=2_510, trainval=5_011, test=4_952),
    ("data_prep.voc", "2012"): dict(train=1_464, val=1_449, trainval=2_913),
}
# Commands that look at some images, however many there are.
_OF_SOME_IMAGES = ("ccssl_tf.calibrate", "ccssl_tf.report")


def images_trained(stage: Stage) -> int:
    """Returns how many images a stage trains on, each counted as often as it is seen.

    It is 0 for stages that do not train, and where a flag is not written or no number.
    """
    if stage.module != "ccssl_tf.train":
        return 0
    texts = stage.flag("train_steps") or "", stage.flag("batch_size") or ""
    return int(texts[0]) * int(texts[1]) if all(map(str.isdecimal, texts)) else 0


def images_read(stage: Stage, stages: Iterable[Stage]) -> int:
    """Returns over how many images, or features of images, a stage goes that does not train: those
    of the directories it reads, or that it makes. 0 where that is not known.

    Args:
      stage: one of `stages`.
      stages: all of a pipeline. Where not even a source is there its images are counted as they
        were published.
    """
    if stage.module in ("ccssl_tf.train", *_OF_SOME_IMAGES):
        return 0
    if _converts(stage):
        return sum(_images_of_splits(stage).values())
    total, split = 0, stage.flag("split")
    for other in stage_graph.inputs_of(stage, stages):
        if _converts(other):
            counts = _images_of_splits(other)
            total += counts.get(split, 0) if split else sum(counts.values())
        elif other.module == "ccssl_tf.extract":
            total += images_read(other, stages)
    return total


def _converts(stage):
    return stage.module.startswith("data_prep.") and stage.flag("data_dir") is None


def _images_of_splits(stage) -> dict[str, int]:
    if stage.module == "data_prep.shapes":
        drawn = dict(train=stage.flag("num_train") or "", val=stage.flag("num_val") or "")
        return {split: int(count) for split, count in drawn.items() if count.isdecimal()}
    try:
        manifest = read_json(stage.directory / MANIFEST_NAME, _MANIFEST_FORM, remedy="")
        return {
            name: sum(shard["num_examples"] for shard in shards)
            for name, shards in manifest["splits"].items()
        }
    except (OSError, CorruptArtifactError):
        # Not there yet or damaged: the command itself says what is wrong. What is at hand may be
        # a part of what was published.
        if os.path.exists(stage.flag("source") or ""):
            return {}
        return _PUBLISHED.get((stage.module, stage.flag("year")), {})


def in_words(stage: Stage) -> str:
    """Returns e.g. "450,000 steps of 256 images"; "" for a stage that does not train."""
    images = images_trained(stage)
    if not images:
        return ""
    batch_size = int(stage.flag("batch_size") or 1)
    return f"{images // batch_size:,} steps of {batch_size} images"


def total_in_words(stages: Iterable[Stage]) -> str:
    """Returns what the stages train on together, in words; "" where nothing is trained."""
    images = [count for stage in stages if (count := images_trained(stage))]
    if not images:
        return ""
    return (
        f"{len(images)} of the stages train, on {sum(images):,} images in all; --dry_run of each "
        "command says what it writes"
    )

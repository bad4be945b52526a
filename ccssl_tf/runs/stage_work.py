"""How much a pipeline has to train, told before it begins."""

from collections.abc import Iterable

from ccssl_tf.runs.command_lines import Stage


def images_trained(stage: Stage) -> int:
    """Returns how many images a stage trains on, each counted as often as it is seen.

    It is 0 for stages that do not train, and where a flag is not written or no number.
    """
    if stage.module != "ccssl_tf.train":
        return 0
    texts = stage.flag("train_steps") or "", stage.flag("batch_size") or ""
    return int(texts[0]) * int(texts[1]) if all(map(str.isdecimal, texts)) else 0


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

"""Whether an evaluation keeps the fully connected layers of the network it starts from."""

import dataclasses

from ccssl_tf.runs.settings import Settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptLayersSettings(Settings):
    """What is taken from --init_backbone."""

    keep_fc: bool = setting(
        False,
        "Start fc6 and fc7 from --init_backbone, too. In the paper they start random, but in the "
        "supervised rows of detection and segmentation.",
    )


def start_in_words(keep_fc: bool) -> str:
    """Returns how fully connected layers start, for the definition of a number."""
    return "as in --init_backbone" if keep_fc else "random at first"

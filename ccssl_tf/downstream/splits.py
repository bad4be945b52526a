"""The splits that the evaluations on VOC 2007 train on and are scored on."""

import dataclasses

from ccssl_tf.runs.settings import Settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitSettings(Settings):
    """Splits; the defaults are those of the protocol."""

    train_split: str = setting("trainval", "Split trained on.", paper="trainval")
    eval_split: str = setting("test", "Split evaluated on.", paper="test")

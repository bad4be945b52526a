"""What the training loop may be told."""

import dataclasses

from ccssl_tf.runs.settings import SeedSettings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopSettings(SeedSettings):
    """The training loop.

    >>> from ccssl_tf import LoopSettings
    >>> LoopSettings(train_steps=100).batch_size
    256
    """

    train_steps: int = setting(
        350_000, "Steps to train for, from the first one on.", minimum=1, paper=350_000
    )
    batch_size: int = setting(
        256, "Images a step, over all replicas and parts.", minimum=1, paper=256
    )
    accumulate_steps: int = setting(
        1,
        "Parts a batch is computed in, one after the other, to save memory.",
        minimum=1,
    )
    jit: bool = setting(False, "Compile the step with XLA (one device only).")
    mixed_precision: str = setting(
        "none",
        "Compute in half precision, keep float32 weights.",
        choices=["none", "float16", "bfloat16"],
    )
    log_steps: int = setting(50, "Steps between records of loss and metrics.", minimum=1)
    eval_steps: int = setting(
        0, "Steps between evaluations on held-out images; 0: only at the end.", minimum=0
    )
    checkpoint_steps: int = setting(1000, "Steps between checkpoints.", minimum=1)

"""What the training loop may be told."""

import dataclasses

from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.fields import as_text
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
        256, "Images a step, over all replicas and parts.", minimum=1, maximum=2**20, paper=256
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
    health_images: int | None = setting(
        None,
        "Held-out images on which it is looked, while a backbone is trained, whether its features "
        "tell images apart; 0: it is not.",
        minimum=0,
        automatic="1000, but no more than one to 25 images trained on meanwhile",
    )
    health_steps: int = setting(0, "Steps between these looks; 0: at every evaluation.", minimum=0)
    histogram_steps: int = setting(
        0, "Steps between histograms of the weights in TensorBoard; 0: none.", minimum=0
    )
    profile_steps: tuple[int, ...] = setting(
        (),
        "First and last step that are profiled, such as 10,20, for TensorBoard (with "
        "tensorboard-plugin-profile); default: none.",
        minimum=1,
    )

    @property
    def num_health_images(self) -> int:
        """`health_images`, or as many as take about 2% of the run at the most: the features of a
        whole image take a half of the time that training on it does, or less.
        """
        if self.health_images is not None:
            return self.health_images
        steps = self.health_steps or self.eval_steps or self.train_steps
        return min(1000, steps * self.batch_size // 25)

    def check(self):
        """A profile has a beginning and an end."""
        super().check()
        steps = self.profile_steps
        if steps and (len(steps) != 2 or steps[0] > steps[1]):
            raise FlagError(
                f"--profile_steps={as_text(steps)}: expected the first and the last step, e.g. "
                "10,20"
            )


def check_batch_size(settings: LoopSettings, task, replicas: int):
    """Raises InputError unless a batch divides into equal parts that suit the task."""
    batch_size, parts = settings.batch_size, settings.accumulate_steps
    part = batch_size // (replicas * parts)
    if part * replicas * parts != batch_size or part % task.batch_multiple:
        raise InputError(
            f"--batch_size={batch_size}: must be a multiple of {replicas} replicas x {parts} "
            f"accumulation steps x {task.batch_multiple}"
        )

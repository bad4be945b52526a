"""What a training run tells: records for TensorBoard and the terminal, pictures, and its rate."""

import contextlib
import time

import tensorflow as tf

from ccssl_tf.runs.files import write_bytes


def write_scalars(group: str, record: dict, step: int):
    """Writes `record` (name -> number) to the current summary writer."""
    for name, value in record.items():
        tf.summary.scalar(f"{group}/{name}", value, step=step)


def report_evaluation(record: dict, step: int, seconds: float):
    """Writes and prints the result of an evaluation, if there is one."""
    write_scalars("evaluation", record, step)
    if record:
        shown = "  ".join(f"{name} {value:.4g}" for name, value in record.items())
        print(f"evaluate  step {step}  {shown}  ({seconds:.1f} s)", flush=True)


def draw(pictures: dict, backbone, workdir, step: int):
    """Writes a task's pictures (name -> [H, W, 3] uint8) and the backbone's first filters into
    `workdir/pictures` and the current summary writer.
    """
    from ccssl_tf.pictures.filters import draw_filters

    pictures = dict(pictures, conv1_filters=draw_filters(backbone))
    (workdir / "pictures").mkdir(exist_ok=True)
    for name, picture in pictures.items():
        tf.summary.image(name, picture[None], step=step)
        write_bytes(workdir / "pictures" / f"{name}.png", tf.io.encode_png(picture).numpy())


class Clock:
    """Steps a second of training alone, from the first record on (compilation is before it)."""

    def __init__(self):
        self.rate, self._first, self._excluded = 0.0, None, 0.0

    def tick(self, step: int):
        """Takes note that `step` steps are done."""
        now = time.monotonic()
        if self._first is None:
            self._first = (step, now)
            self._excluded = 0.0
        elif step > self._first[0]:
            self.rate = (step - self._first[0]) / (now - self._first[1] - self._excluded)

    @contextlib.contextmanager
    def paused(self):
        """What is done inside does not count."""
        started = time.monotonic()
        yield
        self._excluded += time.monotonic() - started

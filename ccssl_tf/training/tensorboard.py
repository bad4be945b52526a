"""A run's TensorBoard events: curves of training and held-out images in one chart, pictures,
settings.
"""

import pathlib
from collections.abc import Mapping

import tensorflow as tf

from ccssl_tf.runs.files import write_bytes

# Directories below that of a run: a name of numbers that both have is a chart with two curves.
CURVES = ("train", "held_out")


def describe(workdir, command: str, settings: Mapping[str, bool | float | str]):
    """Writes the command as text, and the settings, which TensorBoard's HPARAMS page puts beside
    the last numbers of the curves.
    """
    from tensorboard.plugins.hparams import api

    writer = tf.summary.create_file_writer(str(workdir))
    with writer.as_default():
        lines = [command, *(f"--{name}={value}" for name, value in settings.items())]
        tf.summary.text("command", "".join(f"    {line}\n" for line in lines), step=0)
        api.hparams(dict(settings), trial_id=str(workdir))
    writer.close()


class Board:
    """Writes events into `workdir`, by whose name TensorBoard then calls the run; an earlier
    process's stay and are continued.
    """

    def __init__(self, workdir, *, writes: bool = True):
        """Opens the files.

        Args:
          workdir: of the run.
          writes: False where another process does.
        """
        self._workdir = pathlib.Path(workdir)

        def writer(*below):
            if not writes:
                return tf.summary.create_noop_writer()
            return tf.summary.create_file_writer(str(self._workdir.joinpath(*below)))

        self._run = writer()
        self._curves = {name: writer(name) for name in CURVES}

    def scalars(self, curve: str, values: Mapping[str, float], step: int):
        """Writes a point (name -> number) of "train" or "held_out"."""
        with self._curves[curve].as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)

    def histograms(self, model, step: int):
        """Writes how the values of every weight of a Keras model are distributed."""
        with self._curves["train"].as_default():
            for variable in model.trainable_variables:
                tf.summary.histogram(variable.path, variable.value, step=step)

    def pictures(self, pictures: Mapping, step: int):
        """Writes pictures (name -> [H, W, 3] uint8), also as `workdir/pictures/name.png`."""
        (self._workdir / "pictures").mkdir(exist_ok=True)
        with self._run.as_default():
            for name, picture in pictures.items():
                tf.summary.image(name, picture[None], step=step)
                png = tf.io.encode_png(picture).numpy()
                write_bytes(self._workdir / "pictures" / f"{name}.png", png)

    def flush(self):
        """Returns when what was written is in the files."""
        for writer in (self._run, *self._curves.values()):
            writer.flush()

    def close(self):
        """Ends the files."""
        for writer in (self._run, *self._curves.values()):
            writer.close()

"""Draws a labelled image set: the embedded default, which needs no download.

python -m data_prep.shapes --output_dir=DIR

Ten kinds of objects, textured, lit and partly hidden, before cluttered landscapes. Every picture is
a function of (seed, split, index).
"""

import dataclasses

from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import setting
from ccssl_tf.runs.values import Values
from data_prep import command
from data_prep.command import ConverterSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapesSettings(ConverterSettings):
    """Drawn pictures, and how they are converted."""

    num_train: int = setting(3000, "Pictures for training.", minimum=1, maximum=10_000_000)
    num_val: int = setting(
        600, "Pictures for validation; 0 for none.", minimum=0, maximum=10_000_000
    )
    image_size: int = setting(64, "Side of the pictures.", unit="pixels", minimum=16, maximum=1024)


COMMAND = Command("data_prep.shapes", __doc__, (ShapesSettings,))


def main(values: Values):
    """Runs the command."""
    settings = values[ShapesSettings]
    counts = {"train": settings.num_train, "val": settings.num_val}

    def list_images():
        from data_prep import drawing

        return drawing.image_set(counts, settings.image_size, settings.seed)

    command.run(values, list_images, inputs={}, options={"image_size": settings.image_size})


if __name__ == "__main__":
    launch(COMMAND, main)

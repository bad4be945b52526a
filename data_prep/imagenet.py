"""Converts ILSVRC2012: the training tar of class tars and the validation tar as published, or the
unpacked tree.

python -m data_prep.imagenet --source=DIR --output_dir=DIR [--resize_short_side=256]

Nothing is unpacked. The classes of the validation images come from the development kit, val.txt, a
csv of wnids or class folders.
"""

import dataclasses

from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import setting
from ccssl_tf.runs.values import Values
from data_prep import command
from data_prep.command import ConverterSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImagenetSettings(ConverterSettings):
    """ILSVRC2012, and how it is converted."""

    source: str = setting(help="Directory holding the ILSVRC2012 tars, or train/ and val/.")
    ground_truth_ids: str = setting(
        "devkit",
        "What the numbers of the validation ground truth are: ILSVRC2012_ID of the development "
        "kit, or line numbers of synsets.txt.",
        choices=("devkit", "synsets"),
    )
    val_per_class: int = setting(
        0,
        "Training images of every class, drawn by the seed, that are val instead: for choices "
        "that the validation images, which are then left out, must not decide. 0: none.",
        minimum=0,
    )


COMMAND = Command("data_prep.imagenet", __doc__, (ImagenetSettings,))


def main(values: Values):
    """Runs the command."""
    settings = values[ImagenetSettings]

    def list_images():
        from data_prep import imagenet_layout

        if not settings.val_per_class:
            return imagenet_layout.list_images(settings.source, settings.ground_truth_ids)
        return imagenet_layout.list_train_images(
            settings.source, settings.val_per_class, settings.seed
        )

    command.run(
        values,
        list_images,
        inputs={"source": settings.source},
        options={
            "ground_truth_ids": settings.ground_truth_ids,
            "val_per_class": settings.val_per_class,
        },
    )


if __name__ == "__main__":
    launch(COMMAND, main)

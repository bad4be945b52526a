"""Converts PASCAL VOC: the development kit's tars as published, or the unpacked tree.

python -m data_prep.voc --source=DIR --year=2007 --output_dir=DIR [--task=segmentation]

Nothing is unpacked. Images keep their size, so that boxes and masks fit; classes are 0..19 in the
devkit's order, masks hold 0 for background, 1..20 and 255 for void. See ccssl_tf.data.voc_records
for reading.
"""

import dataclasses

from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import setting
from ccssl_tf.runs.values import Values
from data_prep import command
from data_prep.command import ConverterSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocSettings(ConverterSettings):
    """PASCAL VOC, and how it is converted."""

    source: str = setting(help="Directory of the devkit's tars, or the unpacked VOCdevkit.")
    year: int = setting(
        2007,
        "Which VOC<year>; in the paper segmentation is on 2012.",
        minimum=2007,
        maximum=2012,
        paper=2007,
    )
    task: str = setting(
        "detection",
        "detection: the images of ImageSets/Main, with boxes and the state of every class (for "
        "classification too); segmentation: those of ImageSets/Segmentation, with masks.",
        choices=("detection", "segmentation"),
    )
    splits: tuple[str, ...] | None = setting(
        None,
        "Splits to convert. Default: all that are annotated.",
        choices=("train", "val", "trainval", "test"),
        repeated=True,
    )
    sbd: str | None = setting(
        None,
        "Directory of Hariharan's masks (train.txt, cls/*.mat): they become train, and VOC's val "
        "without these images val.",
    )
    val_list: str | None = setting(
        None,
        "File of image ids that become val, such as seg11valid.txt (with --task=segmentation).",
    )

    def check(self):
        """Raises FlagError for what boxes, masks or their splits do not allow."""
        super().check()
        if self.resize_short_side:
            raise FlagError(
                "--resize_short_side: boxes and masks of VOC are evaluated at the original size; "
                "leave it out"
            )
        for name in ("sbd", "val_list"):
            if getattr(self, name) is not None and self.task != "segmentation":
                raise FlagError(f"--{name}: is about masks; add --task=segmentation")
        if self.sbd is not None and self.splits:
            raise FlagError("--sbd: makes train and val; leave --splits out")


COMMAND = Command("data_prep.voc", __doc__, (VocSettings,))


def main(values: Values):
    """Runs the command."""
    settings = values[VocSettings]
    options = dict(year=settings.year, task=settings.task, splits=settings.splits)
    files = dict(sbd=settings.sbd, val_list=settings.val_list)

    def list_images():
        from data_prep import voc_layout

        return voc_layout.list_images(settings.source, **files, **options)

    command.run(values, list_images, inputs={"source": settings.source} | files, options=options)


if __name__ == "__main__":
    launch(COMMAND, main)

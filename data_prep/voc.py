"""Converts PASCAL VOC: the development kit's tars as published, or the unpacked tree.

python -m data_prep.voc --source=DIR --year=2007 --output_dir=DIR [--task=segmentation]

Nothing is unpacked. Images keep their size, so that boxes and masks fit; classes are 0..19 in the
devkit's order, or one's own, masks hold 0 for background, 1..20 and 255 for void. What LabelImg,
CVAT, Roboflow and VoTT write is read, too. See ccssl_tf.data.voc_records for reading.
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

    source: str = setting(
        help="Directory of the devkit's tars, the unpacked VOCdevkit, or images with .xml files."
    )
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

    classes: str | None = setting(
        None,
        "Text file of class names, one a line, in the order of their numbers. Default: VOC's 20, "
        "or those of class lists, annotations or CVAT's labelmap.txt, which are printed.",
    )
    clip_boxes: bool = setting(
        False,
        "Cut boxes that reach out of their image at its edge, and leave out those wholly outside.",
    )
    trust_mask_indices: bool = setting(
        False, "Take the indices of palette masks for classes, whatever colours they have."
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
        if self.trust_mask_indices and self.task != "segmentation":
            raise FlagError("--trust_mask_indices: is about masks; add --task=segmentation")
        if self.clip_boxes and self.task != "detection":
            raise FlagError("--clip_boxes: is about boxes; leave it out with --task=segmentation")
        if self.sbd is not None and self.splits:
            raise FlagError("--sbd: makes train and val; leave --splits out")


COMMAND = Command("data_prep.voc", __doc__, (VocSettings,))


def main(values: Values):
    """Runs the command."""
    settings = values[VocSettings]
    options = dict(
        year=settings.year,
        task=settings.task,
        splits=settings.splits,
        clip_boxes=settings.clip_boxes,
        trust_mask_indices=settings.trust_mask_indices,
    )
    files = dict(sbd=settings.sbd, val_list=settings.val_list)

    def list_images():
        from data_prep import class_file, voc_layout

        path = settings.classes
        classes = None if path is None else class_file.read_classes(path)
        return voc_layout.list_images(settings.source, classes=classes, **files, **options)

    inputs = {"source": settings.source, "classes": settings.classes} | files
    command.run(values, list_images, inputs=inputs, options=options)


if __name__ == "__main__":
    launch(COMMAND, main)

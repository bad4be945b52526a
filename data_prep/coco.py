r"""Converts COCO, or what labelling tools export in its form: images and instances files.

python -m data_prep.coco --source=DIR --annotations=instances_train2017.json \
    --annotations=instances_val2017.json --output_dir=DIR [--task=segmentation]

Boxes become detection records, as those of data_prep.voc. A file as large as that of COCO's
training set (118,000 images, 860,000 objects, 525 MB) takes 3.2 GB of memory and a minute to be
listed, since the header of every picture is compared with it. Masks are drawn by pycocotools (extra
`coco`): 0 for background, then the categories from 1 in the order of their ids, 255 for crowds.
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
class CocoSettings(ConverterSettings):
    """COCO's instances, and how they are converted."""

    source: str = setting(help="Directory of the images, at any depth, or a tar of them.")
    annotations: tuple[str, ...] = setting(
        help="Instances file of one split; repeat the flag for others.", repeated=True
    )
    splits: tuple[str, ...] = setting(
        (),
        "Split of each file, in their order; default: told by its name or its images' folder.",
        choices=("train", "val", "trainval", "test"),
        repeated=True,
    )
    task: str = setting(
        "detection",
        "detection: boxes and classes; segmentation: masks of the categories.",
        choices=("detection", "segmentation"),
    )
    clip_boxes: bool = setting(
        False,
        "Cut boxes that reach out of their image at its edge, and leave out those wholly outside.",
    )

    def check(self):
        """Raises FlagError for what boxes and masks, or the number of files, do not allow."""
        super().check()
        if self.resize_short_side:
            raise FlagError(
                "--resize_short_side: boxes and masks are of the original size; leave it out"
            )
        if self.splits and len(self.splits) != len(self.annotations):
            raise FlagError(
                f"--splits: {len(self.splits)} for {len(self.annotations)} --annotations; give one "
                "for each"
            )


COMMAND = Command("data_prep.coco", __doc__, (CocoSettings,))


def main(values: Values):
    """Runs the command."""
    settings = values[CocoSettings]
    options = dict(task=settings.task, splits=settings.splits, clip_boxes=settings.clip_boxes)

    def list_images():
        from data_prep import coco_layout, coco_masks

        if settings.task == "segmentation":
            coco_masks.require_pycocotools()
        return coco_layout.list_images(settings.source, settings.annotations, **options)

    files = {
        f"annotations[{number}]" if number else "annotations": path
        for number, path in enumerate(settings.annotations)
    }
    command.run(values, list_images, inputs={"source": settings.source} | files, options=options)


if __name__ == "__main__":
    launch(COMMAND, main)

"""Converts PASCAL VOC: the development kit's tars as published, or the unpacked tree.

python -m data_prep.voc --source=DIR --year=2007 --output_dir=DIR [--task=segmentation]

Nothing is unpacked. Images keep their size, so that boxes and masks fit; classes are 0..19 in the
devkit's order, masks hold 0 for background, 1..20 and 255 for void. See ccssl_tf.data.voc_records
for reading.
"""

from absl import flags

from ccssl_tf.runs import launch
from ccssl_tf.runs.errors import FlagError
from data_prep import command, voc_layout

SOURCE = flags.DEFINE_string(
    "source", None, "Directory of the devkit's tars, or the unpacked VOCdevkit."
)
YEAR = flags.DEFINE_integer(
    "year",
    2007,
    "Which VOC<year>. Paper: 2007, and 2012 for segmentation.",
    lower_bound=2007,
    upper_bound=2012,
)
TASK = flags.DEFINE_enum(
    "task",
    "detection",
    ["detection", "segmentation"],
    "detection: the images of ImageSets/Main, with boxes and the state of every class (for "
    "classification too); "
    "segmentation: those of ImageSets/Segmentation, with masks.",
)
SPLITS = flags.DEFINE_multi_enum(
    "splits",
    None,
    voc_layout.SPLITS,
    "Splits to convert; may be repeated. Default: all that are annotated.",
)
SBD = flags.DEFINE_string(
    "sbd",
    None,
    "Directory of Hariharan's masks (train.txt, cls/*.mat): they become train, and VOC's val "
    "without these images val.",
)

VAL_LIST = flags.DEFINE_string(
    "val_list",
    None,
    "File of image ids that become val, such as seg11valid.txt (with --task=segmentation).",
)


def main():
    """Runs the command."""
    if command.RESIZE_SHORT_SIDE.value:
        raise FlagError(
            "--resize_short_side: boxes and masks of VOC are evaluated at the original size; leave "
            "it out"
        )
    if (SBD.value or VAL_LIST.value) and TASK.value != "segmentation":
        raise FlagError(
            f"--{'sbd' if SBD.value else 'val_list'} is about masks: add --task=segmentation"
        )
    if SBD.value and SPLITS.value:
        raise FlagError("--sbd makes train and val; leave --splits out")
    options = dict(year=YEAR.value, task=TASK.value, splits=SPLITS.value)
    files = {
        name: value for name, value in (("sbd", SBD.value), ("val_list", VAL_LIST.value)) if value
    }
    command.run(
        lambda: voc_layout.list_images(SOURCE.value, **files, **options),
        inputs={"source": SOURCE.value} | files,
        options=options,
    )


if __name__ == "__main__":
    launch.launch(main, __doc__)

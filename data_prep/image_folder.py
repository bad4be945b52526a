"""Converts any folder of images, or an uncompressed tar of one; subfolders may be classes, train/
val/ test/ may be splits.

python -m data_prep.image_folder --source=DIR --output_dir=DIR
"""

from absl import flags

from ccssl_tf.runs import launch
from data_prep import command, folder_layout

SOURCE = flags.DEFINE_string(
    "source", None, "Folder or uncompressed tar of images; searched to any depth."
)
LABELS = flags.DEFINE_enum(
    "labels",
    "auto",
    ["auto", "folders", "none"],
    "folders: the topmost folder (below train/ or val/) is the class. auto: as --list says; else "
    "so if every image lies in one and there "
    "are two or more.",
)
VAL_FRACTION = flags.DEFINE_float(
    "val_fraction",
    0.1,
    "Share of the images that becomes val where the source has none; 0: no val.",
    lower_bound=0,
    upper_bound=0.9,
)
CLASSES = flags.DEFINE_string(
    "classes",
    None,
    "Text file of class names, one a line, in the order of their labels; default: sorted folders.",
)
LIST = flags.DEFINE_string(
    "list",
    None,
    "File that names the images to take: lines of `path[ label]` relative to --source, or csv with "
    "the header `filename[,label]`.",
)


def main():
    """Runs the command."""
    options = dict(labels=LABELS.value, val_fraction=VAL_FRACTION.value)
    inputs = {"source": SOURCE.value} | {
        flag.name: flag.value for flag in (CLASSES, LIST) if flag.value
    }

    def list_images():
        classes = folder_layout.read_classes(CLASSES.value) if CLASSES.value else None
        return folder_layout.list_images(
            SOURCE.value, classes=classes, seed=launch.SEED.value, list_path=LIST.value, **options
        )

    command.run(list_images, inputs=inputs, options=options)


if __name__ == "__main__":
    launch.launch(main, __doc__)

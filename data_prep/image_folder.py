"""Converts any folder of images, or an uncompressed tar of one; subfolders may be classes, train/
val/ test/ may be splits. Also Parquet files of encoded images, as Hugging Face has them (extra
`parquet`), and WebDataset's tars.

python -m data_prep.image_folder --source=DIR --output_dir=DIR
"""

import dataclasses

from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import setting
from ccssl_tf.runs.values import Values
from data_prep import command
from data_prep.command import ConverterSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFolderSettings(ConverterSettings):
    """A folder of images, and how it is converted."""

    source: str = setting(
        help="Folder or uncompressed tar of images, searched to any depth; Parquet files, or a "
        "folder of WebDataset's tars."
    )
    max_bad_images: int | None = setting(
        None, "Broken images left out before giving up; default: five in a hundred.", minimum=0
    )
    labels: str = setting(
        "auto",
        "folders: the topmost folder (below train/ or val/) is the class. auto: as --list says; "
        "else so if every image lies in one and there are two or more.",
        choices=("auto", "folders", "none"),
    )
    val_fraction: float = setting(
        0.1,
        "Share of the images that becomes val where the source has none; 0: no val.",
        minimum=0,
        maximum=0.9,
    )
    classes: str | None = setting(
        None,
        "Text file of class names, one a line, in the order of their labels; default: sorted "
        "folders.",
    )
    list: str | None = setting(
        None,
        "File that names the images to take: lines of `path[ label]` relative to --source, or csv "
        "with a header: filename, and perhaps label and split. A label of -1 is none.",
    )
    label_column: str | None = setting(
        None,
        "Column of the csv --list, or of Parquet files, that holds the labels; default: the one of "
        "a usual name, such as label, class or category.",
    )
    split_folders: str = setting(
        "auto",
        "Whether top folders called train, val, test (in any usual spelling) are splits. auto: if "
        "there are two, or nothing beside one.",
        choices=("auto", "yes", "no"),
    )


COMMAND = Command("data_prep.image_folder", __doc__, (ImageFolderSettings,))


def main(values: Values):
    """Runs the command."""
    settings = values[ImageFolderSettings]
    options = dict(
        labels=settings.labels,
        val_fraction=settings.val_fraction,
        label_column=settings.label_column,
        split_folders=settings.split_folders,
    )

    def list_images():
        from data_prep import class_file, image_sources

        path = settings.classes
        classes = None if path is None else class_file.read_classes(path)
        return image_sources.list_images(
            settings.source, classes=classes, seed=settings.seed, list_path=settings.list, **options
        )

    inputs = dict(source=settings.source, classes=settings.classes, list=settings.list)
    command.run(values, list_images, inputs=inputs, options=options)


if __name__ == "__main__":
    launch(COMMAND, main)

r"""Converts TFRecords that other projects wrote: those of the TensorFlow Object Detection API, of
ImageNet's usual converters, of tensorflow-datasets without their description, and the like.

python -m data_prep.tfrecord_import --source=DIR --output_dir=DIR [--image_key=KEY] \
    [--label_key=KEY]

Keys are guessed and printed; splits are told by the files' names. Checksums of all records are
looked at. Boxes with classes become detection records, as those of data_prep.voc.
"""

import dataclasses

from ccssl_tf.runs import machine
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import setting
from ccssl_tf.runs.values import Values
from data_prep import command
from data_prep.command import ConverterSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfrecordImportSettings(ConverterSettings):
    """TFRecords of another project, and how they are converted."""

    source: tuple[str, ...] = setting(
        help="Directory of TFRecord files, or one such file; may be repeated.", repeated=True
    )
    image_key: str | None = setting(
        None, "Key of the encoded image; default: guessed from the first records."
    )
    label_key: str | None = setting(
        None, "Key of the class, a whole number or a name; default: guessed, or none."
    )
    label_map: str | None = setting(
        None,
        "Names of the numbers: the Object Detection API's .pbtxt, or a text of names, one a line.",
    )
    task: str = setting(
        "auto",
        "classification: labels of images; detection: boxes with classes; auto: the latter where "
        "there are some.",
        choices=("auto", "classification", "detection"),
    )
    clip_boxes: bool = setting(
        False,
        "Cut boxes that reach out of their image at its edge, and leave out those wholly outside.",
    )

    def check(self):
        """Raises FlagError for sizes and labels that boxes do not allow."""
        super().check()
        if self.label_key is not None and self.task == "detection":
            raise FlagError("--label_key: is of whole images; leave it out for boxes")
        if self.resize_short_side and self.task == "detection":
            raise FlagError("--resize_short_side: boxes are of the original size; leave it out")


COMMAND = Command("data_prep.tfrecord_import", __doc__, (TfrecordImportSettings,))


def main(values: Values):
    """Runs the command."""
    settings = values[TfrecordImportSettings]
    machine.quiet_tensorflow()
    options = dict(
        image_key=settings.image_key, label_key=settings.label_key, clip_boxes=settings.clip_boxes
    )
    with_objects = {"auto": None, "classification": False, "detection": True}[settings.task]

    def list_images():
        from data_prep import tfrecord_layout

        image_set = tfrecord_layout.list_images(
            tfrecord_layout.find_files(settings.source),
            label_map=settings.label_map,
            with_objects=with_objects,
            **options,
        )
        if image_set.annotator is not None and settings.resize_short_side:
            raise FlagError(
                "--resize_short_side: boxes are of the original size; leave it out, or say "
                "--task=classification"
            )
        return image_set

    inputs = {
        f"source[{number}]" if number else "source": path
        for number, path in enumerate(settings.source)
    }
    command.run(
        values,
        list_images,
        inputs=inputs | {"label_map": settings.label_map},
        options=dict(options, task=settings.task),
    )


if __name__ == "__main__":
    launch(COMMAND, main)

r"""Converts an image data set of tensorflow-datasets, downloading and preparing it first where that
has not been done.

python -m data_prep.tfds_import --name=cifar10 --output_dir=DIR [--tfds_data_dir=DIR] \
    [--splits=train,test]

Images are read one by one from TFDS's own record files. PNGs, as TFDS stores small images, become
JPEGs.
"""

import dataclasses

from ccssl_tf.runs import machine
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import setting
from ccssl_tf.runs.values import Values
from data_prep import command
from data_prep.command import ConverterSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsImportSettings(ConverterSettings):
    """A data set of TFDS, and how it is converted."""

    name: str = setting(help="What TFDS calls it: name[/config][:version], e.g. cifar10.")
    tfds_data_dir: str | None = setting(
        None, "Where TFDS keeps its data sets; default: its own choice."
    )
    splits: tuple[str, ...] = setting(
        (), "TFDS's splits, separated by commas; default: all. validation becomes val."
    )
    image_key: str | None = setting(
        None, "Feature that is the image; default: image, or the only one."
    )
    label_key: str | None = setting(
        None, "Feature that is the class; default: label, the only one, or none."
    )


COMMAND = Command("data_prep.tfds_import", __doc__, (TfdsImportSettings,))


def main(values: Values):
    """Runs the command."""
    settings = values[TfdsImportSettings]
    machine.quiet_tensorflow()
    from data_prep import tfds_layout

    builder = tfds_layout.find_builder(settings.name, settings.tfds_data_dir)
    if not (builder.data_path.exists() and builder.is_prepared()):
        if settings.dry_run:
            print(
                f"dry run: TFDS would first download it ({builder.info.download_size}) and prepare "
                f"it in {builder.data_path}"
            )
            return
        _prepare(builder, settings.name)
    options = dict(
        splits=settings.splits, image_key=settings.image_key, label_key=settings.label_key
    )
    command.run(
        values,
        lambda: tfds_layout.list_images(builder, **options),
        inputs={"tfds_data_dir": str(builder.data_path)},
        options=dict(options, name=builder.info.full_name),
    )


def _prepare(builder, name):
    try:
        builder.download_and_prepare()
    except Exception as error:  # A builder is anyone's code: it raises anything.
        if isinstance(error, OSError) and error.errno:
            raise
        raise InputError(
            f"--name={name}: TFDS cannot prepare it: {str(error).strip() or type(error).__name__}"
        ) from error


if __name__ == "__main__":
    launch(COMMAND, main)

r"""Converts an image data set of tensorflow-datasets, downloading and preparing it first where that
has not been done.

python -m data_prep.tfds_import --name=cifar10 --output_dir=DIR [--tfds_data_dir=DIR] \
    [--splits=train,test]

Images are read one by one from TFDS's own record files. PNGs, as TFDS stores small images, become
JPEGs.
"""

from absl import flags

from ccssl_tf.runs import launch, machine
from ccssl_tf.runs.errors import FlagError, InputError
from data_prep import command, tfds_layout

NAME = flags.DEFINE_string("name", None, "What TFDS calls it: name[/config][:version].")
TFDS_DATA_DIR = flags.DEFINE_string(
    "tfds_data_dir", None, "Where TFDS keeps its data sets; default: its own choice."
)
SPLITS = flags.DEFINE_list(
    "splits", [], "TFDS's splits, separated by commas; default: all. validation becomes val."
)
IMAGE_KEY = flags.DEFINE_string(
    "image_key", None, "Feature that is the image; default: image, or the only one."
)
LABEL_KEY = flags.DEFINE_string(
    "label_key", None, "Feature that is the class; default: label, the only one, or none."
)


def main():
    """Runs the command."""
    if not NAME.value:
        raise FlagError("--name is required: what TFDS calls the data set, e.g. cifar10")
    machine.quiet_tensorflow()
    builder = tfds_layout.find_builder(NAME.value, TFDS_DATA_DIR.value)
    if not (builder.data_path.exists() and builder.is_prepared()):
        if launch.DRY_RUN.value:
            print(
                f"dry run: TFDS would first download it ({builder.info.download_size}) and prepare "
                f"it in {builder.data_path}"
            )
            return
        _prepare(builder)
    options = dict(splits=SPLITS.value, image_key=IMAGE_KEY.value, label_key=LABEL_KEY.value)
    command.run(
        lambda: tfds_layout.list_images(builder, **options),
        inputs={"tfds_data_dir": str(builder.data_path)},
        options=dict(options, name=builder.info.full_name),
    )


def _prepare(builder):
    try:
        builder.download_and_prepare()
    except Exception as error:  # A builder is anyone's code: it raises anything.
        if isinstance(error, OSError) and error.errno:
            raise
        raise InputError(
            f"--name={NAME.value}: TFDS cannot prepare it: "
            f"{str(error).strip() or type(error).__name__}"
        ) from error


if __name__ == "__main__":
    launch.launch(main, __doc__)

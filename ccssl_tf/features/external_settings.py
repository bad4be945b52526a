"""What may be said of features made elsewhere: a file of rows, or somebody else's network."""

import dataclasses

from ccssl_tf.features.network_extractor import BatchSettings
from ccssl_tf.models.backbone import WidthSettings
from ccssl_tf.models.input_convention import InputConventionSettings
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.settings import fields_of, setting
from ccssl_tf.task import ImageSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExternalSettings(InputConventionSettings, WidthSettings):
    """--extractor=external."""

    features_file: str | None = setting(
        None,
        ".npy with an array [N, D], row i of the image whose image/index is i; or .npz or .parquet "
        "with features and, in any order, the images' filenames or indices, as in "
        "DATA_DIR/images.csv.",
    )
    model: str | None = setting(
        None,
        "In place of --features_file: a SavedModel directory, a .keras file, or a network by name: "
        "of keras.applications, e.g. ResNet50, or of KerasHub, keras_hub:NAME, where NAME may be a "
        "preset's directory, too.",
    )
    weights: str | None = setting(
        None,
        "Of a --model of keras.applications: an .h5 or .weights.h5 file, imagenet (Keras downloads "
        "them once) or random. Of KerasHub: a file or random; by default the preset's own "
        "(downloaded once).",
    )
    output: str | None = setting(
        None,
        "Output of --model: a key of a SavedModel's outputs, else a layer or output.",
        automatic="the only one, or the last map",
    )
    trust_model: bool = setting(
        False,
        "Run a SavedModel, which is a program, or a .keras file that holds one.",
    )
    tokens: str | None = setting(
        None,
        "Of a --model whose output is a sequence of tokens: cls, the first; patches, their map, "
        "pooled like other maps; mean, the mean of the patches; all, the mean of all tokens.",
        choices=["all", "cls", "patches", "mean"],
        automatic="all",
    )
    prefix_tokens: int | None = setting(
        None,
        "Tokens in front of the patches: class token, registers.",
        minimum=0,
        maximum=100_000,
        automatic="what is left beside a square of patches",
    )
    pool_grid: int | None = setting(
        None,
        "Cells a side a map of --model is pooled to.",
        minimum=1,
        maximum=256,
        automatic="1",
        formerly=["5"],
    )
    pooling: str | None = setting(
        None,
        "How a cell is pooled.",
        choices=["max", "average"],
        automatic="average, or max where --pool_grid is given",
        formerly=["max"],
    )
    image_size: int | None = setting(
        None,
        "Side of the images that --model sees.",
        unit="pixels",
        minimum=8,
        maximum=4096,
        automatic=f"what --model was made for, else {ImageSettings.image_size}",
        formerly=[str(ImageSettings.image_size)],
    )
    batch_size: int | None = setting(
        None,
        "Images a step of one replica.",
        minimum=1,
        maximum=2**16,
        automatic=str(BatchSettings.batch_size),
        formerly=[str(BatchSettings.batch_size)],
    )

    def check(self):
        """Rows or a network, and nothing said of a network where there is none."""
        super().check()
        if bool(self.features_file) == bool(self.model):
            raise FlagError(
                "--extractor=external needs either --features_file=FILE, an .npy, .npz or "
                ".parquet with one row for each image, or --model=PATH_OR_NAME, a network"
            )
        if self.model:
            return
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            if field.name != "features_file" and value != field.default:
                raise FlagError(
                    f"{field.lines(value)[0]}: is about --model, and --features_file holds "
                    "finished rows; leave it out"
                )

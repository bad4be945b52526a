"""A network made elsewhere as the teacher: an output of a SavedModel, a `.keras` file, or a network
of a library, by name; pooled.

    --model=exported/ --trust_model --output=output_0 --input_range=-1,1
    --model=net.keras --output=block4_conv3 --input_range=0,1 --input_mean=0.485,0.456,0.406
    --input_std=0.229,0.224,0.225 --model=ResNet50 --weights=resnet50_notop.h5
    --model=keras_hub:vit_base_patch16_224_imagenet

What a network takes for a pixel its file does not say (see `ccssl_tf.models.input_convention`).
"""

import dataclasses
import pathlib

import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags
from ccssl_tf.features.endpoint import POOL_GRID, POOLING, NetworkExtractor, pooled_rows
from ccssl_tf.features.model_files import open_model
from ccssl_tf.models.backbone import WIDTH_MULTIPLIER
from ccssl_tf.models.input_convention import HOW_TO_SAY, InputConvention
from ccssl_tf.runs.errors import InputError

MODEL = flags.DEFINE_string(
    "model",
    None,
    "For --extractor=external: a SavedModel directory, a .keras file, or a network by name: of "
    "keras.applications, e.g. ResNet50, or of "
    "KerasHub, keras_hub:NAME, where NAME may be a preset's directory, too.",
)
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "Of a --model of keras.applications: an .h5 or .weights.h5 file, imagenet (Keras downloads "
    "them once) or random. Of KerasHub: a "
    "file or random; by default the preset's own (downloaded once).",
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Output of --model: a key of a SavedModel's outputs, else a layer or output. By default the "
    "only one, or the last map.",
)
_TRUST = flags.DEFINE_bool(
    "trust_model", False, "Run a SavedModel, which is a program, or a .keras file that holds one."
)


class ExternalModelExtractor(NetworkExtractor):
    """An output of someone else's network; maps are pooled to --pool_grid, or averaged to one
    vector without it.
    """

    @classmethod
    def from_flags(cls):
        """Reads this module's flags and those of endpoint extraction and networks."""
        given = {flag: flags.FLAGS[flag].present for flag in ("pool_grid", "pooling", "image_size")}
        opened = open_model(
            MODEL.value,
            output=_OUTPUT.value,
            weights=_WEIGHTS.value,
            trust=_TRUST.value,
            width_multiplier=WIDTH_MULTIPLIER.value,
        )
        return cls(
            opened,
            name=MODEL.value,
            convention=InputConvention.from_flags(),
            pool_grid=POOL_GRID.value if given["pool_grid"] else 1,
            pooling=POOLING.value if given["pool_grid"] or given["pooling"] else "average",
            image_size=network_flags.IMAGE_SIZE.value if given["image_size"] else None,
            batch_size=network_flags.BATCH_SIZE.value,
        )

    def __init__(
        self,
        opened,
        *,
        name: str,
        convention,
        pool_grid: int,
        pooling: str,
        image_size: int | None,
        batch_size: int,
    ):
        """Runs a first image through the network.

        Args:
          opened: a `ccssl_tf.features.model_files.OpenedModel`.
          name: of the network or its file, for messages and the manifest.
          convention: an `InputConvention`; None for a network that brings its own preprocessing.
          pool_grid: cells a side a map is pooled to.
          pooling: "max" or "average".
          image_size: S, pixels a side; None for the network's own.
          batch_size: images a step of one replica.

        Raises:
          InputError: the convention is missing or there is one already, another size than the
            network takes, or it cannot be run.
        """
        self._opened, self._name, self._pool_grid, self._pooling = opened, name, pool_grid, pooling
        if opened.normalize and convention:
            raise InputError(
                f"--input_range: {name} brings its own preprocessing; leave the flag out"
            )
        if not opened.normalize and not convention:
            raise InputError(f"--model={name}: {HOW_TO_SAY}")
        if opened.image_size and image_size not in (None, opened.image_size):
            raise InputError(
                f"--image_size={image_size}: {name} takes images of {opened.image_size} pixels; "
                "leave the flag out"
            )
        size = (
            image_size or opened.image_size or opened.usual_size or network_flags.IMAGE_SIZE.default
        )
        self._normalize = opened.normalize or convention
        seen = dataclasses.asdict(convention) if convention else "its own preprocessing"
        self._parameters = dict(
            name="external",
            model=pathlib.Path(name).name,
            kind=opened.kind,
            output=opened.output,
            image_size=size,
        )
        self._parameters |= dict(input=seen, pool_grid=pool_grid, pooling=pooling)
        try:
            # A SavedModel for images of any size does not say how large its maps are.
            strategy = tf.distribute.get_strategy()
            outputs = strategy.run(
                lambda: opened.call(self._normalize(tf.zeros([1, size, size, 3])))
            )
            self._shape = strategy.experimental_local_results(outputs)[0].shape[1:]
            if self._shape.rank not in (1, 2, 3):
                found = ["n", *self._shape]
                raise InputError(
                    f"--output={opened.output}: is {found}; for each image a vector, tokens or a "
                    "map is needed"
                )
            super().__init__(image_size=size, batch_size=batch_size)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            if isinstance(error, InputError):
                raise
            reason = next(
                (line.strip() for line in str(error).splitlines() if line.strip()),
                type(error).__name__,
            )[:200]
            raise InputError(
                f"--model={name}: cannot be run on images [n, {size}, {size}, 3] ({reason})"
            ) from error

    def describe(self) -> dict:
        """Returns what the manifest says of the features."""
        return dict(extractor=self._parameters, backbone_fingerprint=self._opened.digest)

    def inputs(self) -> dict[str, str]:
        """Returns flag name -> path of what is read besides the images: the network, or its
        weights.
        """
        return self._opened.files

    def rows(self, images):
        """The output, pooled and flattened; of tokens [n, T, C] the mean."""
        outputs = tf.ensure_shape(self._opened.call(self._normalize(images)), [None, *self._shape])
        outputs = tf.reduce_mean(outputs, 1) if self._shape.rank == 2 else outputs
        return pooled_rows(outputs, self._pool_grid, self._pooling)

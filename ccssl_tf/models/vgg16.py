"""VGG16 (Simonyan and Zisserman 2014, configuration D), also for small images."""

import dataclasses

import keras

from ccssl_tf.data import SMALL_IMAGE_SIZE
from ccssl_tf.layers import CeilMaxPooling2D, GroupedConv2D, LabConv2D
from ccssl_tf.models import backbone as lib
from ccssl_tf.models.backbone import (
    Backbone,
    NormalizedSettings,
    batch_normalization,
    fully_connected,
    scaled,
)

_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


@dataclasses.dataclass(frozen=True, kw_only=True)
class VGG16Settings(NormalizedSettings):
    """VGG16."""


@keras.saving.register_keras_serializable(package="ccssl_tf")
class VGG16(Backbone):
    """VGG16 with endpoints conv1_1..conv5_3, pool5, and fc6, fc7 where it has them.

    A pool is skipped once the map is 2x2 or smaller, so that 16-pixel tiles pass.

    >>> from ccssl_tf import VGG16
    >>> network = VGG16(width_multiplier=0.1, fc_units=())
    >>> network.endpoint_names[:2]
    ['conv1_1', 'conv1_2']
    """

    Settings = VGG16Settings

    def __init__(
        self,
        *,
        normalization="none",
        width_multiplier=1.0,
        fc_units=(4096, 4096),
        image_size=224,
        dropout_rate=0.5,
        input_mean=lib.IMAGENET_MEAN,
        colors="rgb",
        name="vgg16",
    ):
        """Builds the network; raises InputError for an unknown normalisation.

        Args:
          normalization: "none" or "batch_norm" (before every rectifier).
          width_multiplier: scales the channels of the convolutions.
          fc_units: sizes of fc6 and fc7; () leaves them out, and the input size free.
          image_size: pixels; used only when there are fully connected layers.
          dropout_rate: after fc6 and fc7.
          input_mean: RGB in [0, 255], subtracted by `normalize`.
          colors: "rgb", "gray", or "lab_halves": two half networks side by side, every layer in two
            groups, conv1_1 over L and ab.
          name: model name.
        """
        lib.check_choice("normalization", normalization, ("none", "batch_norm"))
        lib.check_choice("colors", colors, tuple(lib.COLORS))
        self._arguments = dict(
            normalization=normalization,
            width_multiplier=width_multiplier,
            fc_units=list(fc_units),
            image_size=image_size,
            dropout_rate=dropout_rate,
            input_mean=list(input_mean),
            colors=colors,
        )
        side = image_size if fc_units else None
        images = keras.Input([side, side, 3], name="images")
        with_norm = normalization == "batch_norm"
        endpoints = {}
        x = images
        for block, (depth, filters) in enumerate(_BLOCKS, 1):
            for layer in (f"conv{block}_{number}" for number in range(1, depth + 1)):
                halved = colors == "lab_halves"
                # Keras stores weights under the class's name: Conv2D stays, so that older files
                # load.
                whole = (LabConv2D, 1) if layer == "conv1_1" else (GroupedConv2D, 2)
                convolution, groups = whole if halved else (keras.layers.Conv2D, 1)
                x = convolution(
                    scaled(filters, width_multiplier),
                    3,
                    padding="same",
                    groups=groups,
                    use_bias=not with_norm,
                    kernel_initializer="he_normal",
                    name=layer,
                )(x)
                if with_norm:
                    x = batch_normalization(f"{layer}_norm")(x)
                x = endpoints[layer] = keras.layers.ReLU(name=f"{layer}_relu")(x)
            x = CeilMaxPooling2D(2, 2, keep_below=2, name=f"pool{block}")(x)
        endpoints["pool5"] = x
        if fc_units:

            def dense(units, name):
                return keras.layers.Dense(units, kernel_initializer="he_normal", name=name)

            endpoints |= fully_connected(x, dense, fc_units, dropout_rate)
        super().__init__(
            inputs=images, outputs=endpoints, name=name, input_mean=input_mean, colors=colors
        )

    def get_config(self):
        """The constructor's arguments."""
        return dict(self._arguments, name=self.name)

    @classmethod
    def from_settings(
        cls,
        settings: VGG16Settings,
        *,
        image_size: int,
        with_fc: bool = False,
        colors: str | None = None,
    ) -> "VGG16":
        """Builds the network for images of `image_size` pixels.

        `with_fc` adds fc6 and fc7, for images of 128 pixels and more.
        """
        normalization = settings.normalization
        has_fc = with_fc and image_size >= SMALL_IMAGE_SIZE
        return cls(
            normalization={"auto": "batch_norm", "lrn": "none"}.get(normalization, normalization),
            width_multiplier=settings.width_multiplier or 1.0,
            fc_units=settings.fc_units if has_fc else (),
            image_size=image_size,
            dropout_rate=settings.dropout_rate,
            colors=colors or "rgb",
        )

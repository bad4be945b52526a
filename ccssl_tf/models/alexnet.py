"""AlexNet as in Caffe, and its small-image form.

It is that of Krizhevsky et al. 2012, in BVLC's two published prototxts.
"""

import dataclasses

import keras

from ccssl_tf.data import SMALL_IMAGE_SIZE
from ccssl_tf.layers import CeilMaxPooling2D, GroupedConv2D, LabConv2D, LocalResponseNormalization
from ccssl_tf.models import backbone as lib
from ccssl_tf.models.backbone import (
    Backbone,
    NormalizedSettings,
    batch_normalization,
    fully_connected,
    scaled,
)
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.settings import setting

# name, filters, kernel size, groups, whether the bias starts above zero (at 1 in CaffeNet, 0.1 in
# BVLC's AlexNet).
_CONVOLUTIONS = (
    ("conv1", 96, 11, 1, False),
    ("conv2", 256, 5, 2, True),
    ("conv3", 384, 3, 1, False),
    ("conv4", 384, 3, 2, True),
    ("conv5", 256, 3, 2, True),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlexNetSettings(NormalizedSettings):
    """AlexNet."""

    alexnet_order: str | None = setting(
        None,
        "Order of AlexNet's layers: caffenet pools, then normalises (the paper's network); bvlc "
        "normalises, then pools, as BVLC's AlexNet.",
        choices=["caffenet", "bvlc"],
        automatic="caffenet, or that of --init_backbone",
    )
    conv1_stride: int | None = setting(
        None,
        "Stride of conv1: 4 on images, 2 on tiles.",
        minimum=1,
        maximum=64,
        automatic="4; of images below 128 pixels it is always 2",
        formerly=["4"],
    )


@keras.saving.register_keras_serializable(package="ccssl_tf")
class AlexNet(Backbone):
    """AlexNet with endpoints conv1..conv5, and pool5, fc6, fc7 where it has them.

    Called bare it is BVLC's CaffeNet: 227-pixel images, two-group conv2, conv4 and conv5, pooling
    before normalisation.

    >>> from ccssl_tf import AlexNet
    >>> network = AlexNet(stem="small", width_multiplier=0.1, fc_units=())
    >>> network.endpoint_names
    ['conv1', 'conv2', 'conv3', 'conv4', 'conv5']
    """

    Settings = AlexNetSettings

    def __init__(
        self,
        *,
        stem="standard",
        order="caffenet",
        normalization="lrn",
        conv1_stride=4,
        is_padded=False,
        width_multiplier=1.0,
        fc_units=(4096, 4096),
        image_size=227,
        dropout_rate=0.5,
        input_mean=lib.IMAGENET_MEAN,
        colors="rgb",
        name="alexnet",
    ):
        """Builds the network; raises InputError for an unknown stem, order or normalisation.

        Args:
          stem: "standard", or "small" for images below 128 pixels: conv1 5x5 stride 2, 2x2 pools
            after conv1 and conv2, no pool5.
          order: "caffenet" (pool, then LRN) or "bvlc" (LRN, then pool).
          normalization: "lrn", "batch_norm" (before every rectifier, in place of LRN) or "none".
          conv1_stride: 4 or 2; of the standard stem.
          is_padded: whether the standard stem pads conv1 by 5 and pool1 and pool2 by 1, as for
            detection (experiments/PROTOCOLS.md, "Detection (Fast R-CNN)").
          width_multiplier: scales the channels of the convolutions.
          fc_units: sizes of fc6 and fc7; () leaves them out, and the input size free.
          image_size: pixels; used only when there are fully connected layers.
          dropout_rate: after fc6 and fc7.
          input_mean: RGB in [0, 255], subtracted by `normalize`.
          colors: "rgb", "gray", or "lab_halves": two half networks side by side, every layer in two
            groups, conv1 over L and ab.
          name: model name.
        """
        lib.check_choice("stem", stem, ("standard", "small"))
        lib.check_choice("order", order, ("caffenet", "bvlc"))
        lib.check_choice("normalization", normalization, ("lrn", "batch_norm", "none"))
        lib.check_choice("colors", colors, tuple(lib.COLORS))
        if colors == "lab_halves" and normalization == "lrn":
            raise InputError(
                "--normalization=lrn: would mix the two halves of a network of colors=lab_halves; "
                "use batch_norm or none"
            )
        self._arguments = dict(
            stem=stem,
            order=order,
            normalization=normalization,
            conv1_stride=conv1_stride,
            is_padded=is_padded,
            width_multiplier=width_multiplier,
            fc_units=list(fc_units),
            image_size=image_size,
            dropout_rate=dropout_rate,
            input_mean=list(input_mean),
            colors=colors,
        )
        side = image_size if fc_units else None
        images = keras.Input([side, side, 3], name="images")
        endpoints = {}
        is_padded = is_padded and stem == "standard"
        x = keras.layers.ZeroPadding2D(5, name="pad1")(images) if is_padded else images
        raised = 1.0 if order == "caffenet" else 0.1
        for layer, filters, size, groups, is_raised in _CONVOLUTIONS:
            strides = 1
            if layer == "conv1":
                size, strides = (5, 2) if stem == "small" else (size, conv1_stride)
            with_norm = normalization == "batch_norm"
            halved = colors == "lab_halves"
            convolution, groups = (
                (LabConv2D, 1)
                if halved and layer == "conv1"
                else (GroupedConv2D, 2 if halved else groups)
            )
            x = convolution(
                scaled(filters, width_multiplier),
                size,
                strides=strides,
                groups=groups,
                padding="valid" if layer == "conv1" and stem == "standard" else "same",
                use_bias=not with_norm,
                bias_initializer=keras.initializers.Constant(raised if is_raised else 0),
                kernel_initializer="he_normal"
                if with_norm
                else keras.initializers.RandomNormal(stddev=0.01),
                name=layer,
            )(x)
            if with_norm:
                x = batch_normalization(f"{layer}_norm")(x)
            x = endpoints[layer] = keras.layers.ReLU(name=f"{layer}_relu")(x)
            x = self._after(layer, x, stem, order, normalization, is_padded)
        if stem == "standard":
            endpoints["pool5"] = x
        if fc_units:

            def dense(units, name):
                initializer = keras.initializers.RandomNormal(stddev=0.005)
                bias = keras.initializers.Constant(raised)
                return keras.layers.Dense(
                    units, kernel_initializer=initializer, bias_initializer=bias, name=name
                )

            endpoints |= fully_connected(x, dense, fc_units, dropout_rate)
        super().__init__(
            inputs=images, outputs=endpoints, name=name, input_mean=input_mean, colors=colors
        )

    @staticmethod
    def _after(layer, x, stem, order, normalization, is_padded):
        """Pooling and LRN behind a convolution."""
        window, pooled = (
            (2, ("conv1", "conv2")) if stem == "small" else (3, ("conv1", "conv2", "conv5"))
        )
        if layer not in pooled:
            return x
        number = layer[-1]
        stages = [CeilMaxPooling2D(window, 2, name=f"pool{number}")]
        if is_padded and layer != "conv5":
            # Nothing is below zero here, so zeros take no part in the maxima.
            stages.insert(0, keras.layers.ZeroPadding2D(1, name=f"pool{number}_padding"))
        if normalization == "lrn" and layer != "conv5":
            stages.insert(
                len(stages) if order == "caffenet" else 0,
                LocalResponseNormalization(name=f"norm{number}"),
            )
        for stage in stages:
            x = stage(x)
        return x

    def get_config(self):
        """The constructor's arguments."""
        return dict(self._arguments, name=self.name)

    @classmethod
    def from_settings(
        cls,
        settings: AlexNetSettings,
        *,
        image_size: int,
        with_fc: bool = False,
        colors: str | None = None,
    ) -> "AlexNet":
        """Builds the network for images of `image_size` pixels.

        The size is the image's, not the tile's; `with_fc` adds fc6 and fc7.
        """
        is_small = image_size < SMALL_IMAGE_SIZE
        normalization = settings.normalization
        if normalization == "auto":
            normalization = "batch_norm" if is_small or colors == "lab_halves" else "lrn"
        return cls(
            stem="small" if is_small else "standard",
            order=settings.alexnet_order or "caffenet",
            normalization=normalization,
            conv1_stride=2 if is_small else settings.conv1_stride or 4,
            width_multiplier=settings.width_multiplier or 1.0,
            fc_units=settings.fc_units if with_fc and not is_small else (),
            image_size=image_size,
            dropout_rate=settings.dropout_rate,
            colors=colors or "rgb",
        )

"""Context encoder (Pathak et al. 2016): paint what is missing from a picture."""

import dataclasses

import keras
import tensorflow as tf

from ccssl_tf.data import SMALL_IMAGE_SIZE
from ccssl_tf.layers.per_example_dropout import PerExampleDropout, per_example_seeds
from ccssl_tf.models.backbone import batch_normalization
from ccssl_tf.ops import per_example_random as random
from ccssl_tf.pictures.captioned import draw_rows
from ccssl_tf.pretext.pixel_prediction import area_average
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.settings import setting
from ccssl_tf.task import ImageTask, Result, TaskSettings

_BLOCK_STREAM, _DROPOUT_STREAM = 500, 501
_NUM_BLOCKS = 4
_MIN_IMAGE_SIZE = 16
# Channels of the decoder, from the map up to the picture; the last ones are used, before the three
# of RGB.
_DECODER = (256, 128, 64, 64, 32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContextEncoderSettings(TaskSettings):
    """--task=context_encoder."""

    mask: str = setting(
        "random_blocks",
        "What is missing: four square blocks of a quarter of the side, anywhere, maybe overlapping "
        "(up to a quarter of the picture), or the central square of half the side.",
        choices=["random_blocks", "center"],
    )

    def check(self):
        """Images are large enough for holes."""
        super().check()
        if self.image_size < _MIN_IMAGE_SIZE:
            raise FlagError(
                f"--image_size={self.image_size}: too small to cut blocks of a quarter from; use "
                f"{_MIN_IMAGE_SIZE} or more"
            )


class ContextEncoder(ImageTask):
    """Encodes a picture with holes and decodes all of it.

    Holes are of the mean colour; the loss is the squared error in them. As in the paper's feature
    learning: AlexNet's pool5 (small networks: their last map), a channel-wise fully connected layer
    with dropout 0.5, a 1x1 convolution that mixes channels, and up-convolutions (4x4, stride 2) to
    about the picture's size; L2 on the holes alone. For small images the decoder has batch
    normalisation, and no dropout. The adversarial term is left out, as the paper leaves it out
    here: it could not make it converge with AlexNet (section 5.2). Simplified: no arbitrary shapes
    for holes ("random region" cuts them out with the masks of PASCAL VOC; the paper found random
    blocks to give features as general), the central hole is predicted without the overlap of 7
    pixels, the decoder's widths are our own.

    >>> from ccssl_tf import Epoch, ContextEncoder
    >>> task = ContextEncoder(data_dir=data_dir, image_size=32)
    >>> next(iter(task.dataset("train", Epoch(batch_size=4))))["image"].shape.as_list()
    [4, 32, 32, 3]
    """

    Settings = ContextEncoderSettings

    def build_model(self, backbone):
        """Pictures [B, D, D, 3] in [-1, 1] over the last map.

        D is the map's size times a power of two, at most S.
        """
        size = self.settings.image_size
        small = size < SMALL_IMAGE_SIZE
        images = keras.Input([size, size, 3], name="images")
        endpoints = backbone(images)
        x = endpoints["pool5" if "pool5" in endpoints else backbone.endpoint_names[-1]]
        x = ChannelwiseDense(name="channelwise_fc")(x)
        # Before batch normalisation dropout would shift the statistics that evaluation relies on.
        x = x if small else PerExampleDropout(0.5, stream=_DROPOUT_STREAM, name="dropout")(x)
        x = keras.layers.Conv2D(
            x.shape[-1], 1, kernel_initializer="he_normal", activation="relu", name="mixing"
        )(x)
        steps = (size // x.shape[1]).bit_length() - 1
        for number, channels in enumerate(_DECODER[len(_DECODER) - steps + 1 :], 1):
            up = keras.layers.Conv2DTranspose(
                channels,
                4,
                2,
                padding="same",
                use_bias=not small,
                kernel_initializer="he_normal",
                name=f"up{number}",
            )
            x = up(x)
            x = keras.layers.ReLU(name=f"up{number}_relu")(
                batch_normalization(f"up{number}_norm")(x) if small else x
            )
        picture = keras.layers.Conv2DTranspose(
            3, 4, 2, padding="same", dtype="float32", name="picture"
        )(x)
        model = keras.Model(images, dict(picture=picture), name="context_encoder")
        model.backbone = backbone
        return model

    def holes(self, seed):
        """Returns [B, S, S, 1] float32: 1 where the picture is missing."""
        size = self.settings.image_size
        line = tf.range(size)
        if self.settings.mask == "center":
            start = tf.tile(tf.constant([[[size // 4] * 2]]), [tf.shape(seed)[0], 1, 1])
            side = size // 2
        else:
            side = size // 4
            start = tf.reshape(
                random.integers(seed, 2 * _NUM_BLOCKS, _BLOCK_STREAM, size - side + 1),
                [-1, _NUM_BLOCKS, 2],
            )
        inside = (line >= start[..., None]) & (line < start[..., None] + side)
        return tf.cast(
            tf.reduce_any(inside[:, :, 0, :, None] & inside[:, :, 1, None, :], 1), tf.float32
        )[..., None]

    def loss(self, model, batch, training):
        """Mean squared error in the holes, pixels in [-1, 1], and `mean_color_error`.

        The latter is the error of the mean colour of what is visible.
        """
        holes = self.holes(batch["seed"])
        with per_example_seeds(batch["seed"]):
            picture = model(self.shown(model.backbone, batch["image"], holes), training=training)[
                "picture"
            ]
        target = tf.cast(batch["image"], tf.float32) / 127.5 - 1
        visible = 1 - holes
        surroundings = tf.reduce_sum(target * visible, [1, 2], keepdims=True) / tf.reduce_sum(
            visible, [1, 2], keepdims=True
        )
        size = picture.shape[1:3]
        small_target, small_holes = area_average(target, *size), area_average(holes, *size)

        def error(answer):
            squares = tf.reduce_mean(tf.square(answer - small_target), -1, keepdims=True)
            return tf.reduce_sum(squares * small_holes, [1, 2, 3]) / tf.reduce_sum(
                small_holes, [1, 2, 3]
            )

        return error(tf.cast(picture, tf.float32)), dict(mean_color_error=error(surroundings))

    def shown(self, backbone, images, holes):
        """What the network sees: normalised images, 0 (the mean colour) in the holes."""
        return backbone.normalize(images) * (1 - holes)

    def evaluate(self, model):
        """Both errors on held-out images, holes drawn once and for all."""
        metrics = super().evaluate(model).metrics
        return Result(metrics, dict(chance=metrics.get("mean_color_error")))

    def facts(self, model, result=None):
        """The error of the mean colour, and how errors are computed.

        Where there was no evaluation, that error is measured.
        """
        return dict(
            (result or self.evaluate(model)).facts,
            mask=self.settings.mask,
            definition="loss: mean squared error in the holes, pixels in [-1, 1], of central "
            "crops; chance: the same error of painting the holes in the mean colour of what is "
            "visible; batch statistics not used",
        )

    def pictures(self, model, result=None):
        """`inpainting`: the picture with holes, the answer in its place, and the true picture."""
        batch = self.pictured_batch(8, model)
        images, holes = tf.cast(batch["image"], tf.float32), self.holes(batch["seed"])
        answer = model(self.shown(model.backbone, images, holes), training=False)["picture"]
        answer = tf.clip_by_value((tf.image.resize(answer, images.shape[1:3]) + 1) * 127.5, 0, 255)
        rows = {
            "in": images * (1 - holes) + 127.5 * holes,
            "answered": images * (1 - holes) + answer * holes,
            "true picture": images,
        }
        rows = {name: tf.cast(tf.round(row), tf.uint8).numpy() for name, row in rows.items()}
        return dict(inpainting=draw_rows(rows))


@keras.saving.register_keras_serializable(package="ccssl_tf")
class ChannelwiseDense(keras.layers.Layer):
    """A fully connected layer within each channel (Pathak et al. section 3.1).

    Every place of a map sees every other of its channel.
    """

    def build(self, input_shape):
        """Creates kernel [C, h * w, h * w] and bias [C, h * w]."""
        _, height, width, channels = input_shape
        places = height * width
        initializer = keras.initializers.RandomNormal(stddev=places**-0.5)
        self.kernel = self.add_weight(
            shape=[channels, places, places], initializer=initializer, name="kernel"
        )
        self.bias = self.add_weight(shape=[channels, places], initializer="zeros", name="bias")

    def call(self, inputs):
        """Maps [B, h, w, C] to the same shape."""
        _, height, width, channels = inputs.shape
        flat = keras.ops.transpose(
            keras.ops.reshape(inputs, [-1, height * width, channels]), [2, 0, 1]
        )
        mixed = keras.ops.matmul(flat, self.kernel) + self.bias[:, None]
        return keras.ops.reshape(
            keras.ops.transpose(mixed, [1, 2, 0]), [-1, height, width, channels]
        )

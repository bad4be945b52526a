"""Context encoder (Pathak et al. 2016): paint what is missing from a picture."""

import keras
import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.data import SMALL_IMAGE_SIZE, image_batches
from ccssl_tf.layers.per_example_dropout import PerExampleDropout, per_example_seeds
from ccssl_tf.models.backbone import batch_normalization
from ccssl_tf.ops import per_example_random as random
from ccssl_tf.pretext.pixel_prediction import area_average
from ccssl_tf.runs.errors import InputError
from ccssl_tf.task import Task

_MASK = flags.DEFINE_enum(
    "mask",
    "random_blocks",
    ["random_blocks", "center"],
    "What is missing: four square blocks of a quarter of the side, anywhere, maybe overlapping (up "
    "to a quarter of the picture), or the "
    "central square of half the side.",
)

_BLOCK_STREAM, _DROPOUT_STREAM = 500, 501
_NUM_BLOCKS = 4
_MIN_IMAGE_SIZE = 16
# Channels of the decoder, from the map up to the picture; the last ones are used, before the three
# of RGB.
_DECODER = (256, 128, 64, 64, 32)


class ContextEncoder(Task):
    """Encodes a picture with holes (of the mean colour) and decodes all of it; the loss is the
    squared error in the holes.

    As in the paper's feature learning: AlexNet's pool5 (small networks: their last map), a
    channel-wise fully connected layer with dropout 0.5, a 1x1 convolution that mixes channels, and
    up-convolutions (4x4, stride 2) to about the picture's size; L2 on the holes alone. For small
    images the decoder has batch normalisation, and no dropout. The adversarial term is left out, as
    the paper leaves it out here: it could not make it converge with AlexNet (section 5.2).
    Simplified: no arbitrary shapes for holes ("random region" cuts them out with the masks of
    PASCAL VOC; the paper found random blocks to give features as general), the central hole is
    predicted without the overlap of 7 pixels, the decoder's widths are our own.
    """

    def __init__(self, *, data_dir, image_size, mask, eval_batch_size=64):
        """Args are those of the flags; raises InputError for an image too small to have holes."""
        if image_size < _MIN_IMAGE_SIZE:
            raise InputError(
                f"--image_size={image_size}: too small to cut blocks of a quarter from; use "
                f"{_MIN_IMAGE_SIZE} or more"
            )
        self.data_dir, self.image_size, self.mask, self.eval_batch_size = (
            data_dir,
            image_size,
            mask,
            eval_batch_size,
        )
        self.eval_split = image_batches.held_out_split(data_dir)
        self._chance = None

    @classmethod
    def from_flags(cls):
        """Reads --mask and the flags of data and image size."""
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            image_size=network_flags.IMAGE_SIZE.value,
            mask=_MASK.value,
        )

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """Batches of `image` [B, S, S, 3] uint8: random mirrored crops in training, the centre
        otherwise.
        """
        options = dict(
            batch_size=batch_size, training=training, epoch_seed=epoch_seed, first_batch=first_batch
        )
        return image_batches.augmented_images(
            self.data_dir, split, image_size=self.image_size, **options
        )

    def build_model(self, backbone):
        """Pictures [B, D, D, 3] in [-1, 1] over the last map; D is the map's size times a power of
        two, at most S.
        """
        small = self.image_size < SMALL_IMAGE_SIZE
        images = keras.Input([self.image_size, self.image_size, 3], name="images")
        endpoints = backbone(images)
        x = endpoints["pool5" if "pool5" in endpoints else backbone.endpoint_names[-1]]
        x = ChannelwiseDense(name="channelwise_fc")(x)
        # Before batch normalisation dropout would shift the statistics that evaluation relies on.
        x = x if small else PerExampleDropout(0.5, stream=_DROPOUT_STREAM, name="dropout")(x)
        x = keras.layers.Conv2D(
            x.shape[-1], 1, kernel_initializer="he_normal", activation="relu", name="mixing"
        )(x)
        steps = (self.image_size // x.shape[1]).bit_length() - 1
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
        line = tf.range(self.image_size)
        if self.mask == "center":
            start = tf.tile(tf.constant([[[self.image_size // 4] * 2]]), [tf.shape(seed)[0], 1, 1])
            side = self.image_size // 2
        else:
            side = self.image_size // 4
            start = tf.reshape(
                random.integers(seed, 2 * _NUM_BLOCKS, _BLOCK_STREAM, self.image_size - side + 1),
                [-1, _NUM_BLOCKS, 2],
            )
        inside = (line >= start[..., None]) & (line < start[..., None] + side)
        return tf.cast(
            tf.reduce_any(inside[:, :, 0, :, None] & inside[:, :, 1, None, :], 1), tf.float32
        )[..., None]

    def loss(self, model, batch, training):
        """Mean squared error in the holes, pixels in [-1, 1], and `mean_color_error`, that of the
        mean colour of what is visible.
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
        record = super().evaluate(model)
        self._chance = record.get("mean_color_error")
        return record

    def facts(self):
        """The error of the mean colour and how errors are computed."""
        return dict(
            chance=self._chance,
            mask=self.mask,
            definition="loss: mean squared error in the holes, pixels in [-1, 1], of central "
            "crops; chance: the same error of painting the "
            "holes in the mean colour of what is visible; batch statistics not used",
        )

    def pictures(self, model):
        """`inpainting`: the picture with holes, the model's answer in its place, and the true
        picture.
        """
        from ccssl_tf.pictures.captioned import PLAIN, draw_columns

        batch = next(
            iter(self.dataset(self.eval_split or "train", 8, training=False, epoch_seed=(0, 0)))
        )
        images, holes = tf.cast(batch["image"], tf.float32), self.holes(batch["seed"])
        answer = model(self.shown(model.backbone, images, holes), training=False)["picture"]
        answer = tf.clip_by_value((tf.image.resize(answer, images.shape[1:3]) + 1) * 127.5, 0, 255)
        rows = {
            "in": images * (1 - holes) + 127.5 * holes,
            "answered": images * (1 - holes) + answer * holes,
            "true picture": images,
        }
        rows = {name: tf.cast(tf.round(row), tf.uint8).numpy() for name, row in rows.items()}
        return dict(
            inpainting=draw_columns(
                [
                    [(row[i], (name, PLAIN)) for name, row in rows.items()]
                    for i in range(len(images))
                ]
            )
        )


@keras.saving.register_keras_serializable(package="ccssl_tf")
class ChannelwiseDense(keras.layers.Layer):
    """A fully connected layer within each channel: every place of a map sees every other of its
    channel (Pathak et al. section 3.1).
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

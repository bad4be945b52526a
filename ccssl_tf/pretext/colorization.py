"""Colorization (Zhang, Isola, Efros 2016): which colours belong to a grey picture?"""

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.data import SMALL_IMAGE_SIZE, image_batches
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.ops import color
from ccssl_tf.pretext import ab_bins
from ccssl_tf.pretext.pixel_prediction import area_average, last_convolution, pixel_head
from ccssl_tf.task import Task

REBALANCING = flags.DEFINE_float(
    "color_rebalancing",
    0.5,
    "Class rebalancing lambda of colorization and split_brain: share of the uniform distribution "
    "mixed into that of the colours; 0.5 in "
    "the paper; 1 weighs all colours alike.",
    lower_bound=0.01,
    upper_bound=1,
)
HEAD_UNITS = flags.DEFINE_integer(
    "pixel_head_units",
    4096,
    "Units at every place of the head of colorization and split_brain; 4096 in their papers.",
    lower_bound=1,
)


class Colorization(Task):
    """Classifies the colour of every place of the last convolution's map into 313 bins of the ab
    plane, from lightness alone.

    The backbone is built to see grey (`colors`): any later stage hands it RGB images as ever, and
    it looks at their lightness in three equal channels. As in the paper: soft targets over the 5
    nearest bins (sigma 5), the loss of a place weighted by its colour's rarity (lambda 0.5, the
    distribution of colours measured on the training images and smoothed), pictures from the
    annealed mean (T = 0.38); pictures without colour are left out, as in the released code.
    Simplified: the target of a place is the mean colour of its cell of the map (8 x 8 at 64 pixels,
    13 x 13 at 227), where the released network samples every eighth pixel and enlarges its logits
    to that grid; conv5 is not pooled before the head.
    """

    colors = "gray"

    def __init__(self, *, data_dir, image_size, rebalancing, head_units, eval_batch_size=64):
        """Args are those of the flags."""
        self.data_dir, self.image_size, self.eval_batch_size = data_dir, image_size, eval_batch_size
        self.rebalancing, self.head_units = rebalancing, head_units
        self.eval_split = image_batches.held_out_split(data_dir)
        self._cells = None

    @classmethod
    def from_flags(cls):
        """Reads this module's flags and those of data and image size."""
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            image_size=network_flags.IMAGE_SIZE.value,
            rebalancing=REBALANCING.value,
            head_units=HEAD_UNITS.value,
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
        """Logits [B, h, w, 313] over the last convolution; also measures how common the colours are
        at this map's size.
        """
        images = keras.Input([self.image_size, self.image_size, 3], name="images")
        maps = backbone(images)[last_convolution(backbone)]
        logits = pixel_head(
            maps, ab_bins.NUM_BINS, self.head_units, self.image_size < SMALL_IMAGE_SIZE, "ab"
        )
        model = keras.Model(images, dict(ab=logits), name="colorization")
        model.backbone = backbone
        self._measure(maps.shape[1:3])
        return model

    def _measure(self, cells):
        """Measures the distribution of colours over maps of this size, once."""
        if cells == self._cells:
            return
        self._cells = cells

        def classes(images):
            return ab_bins.nearest_bins(self.mean_colors(images)[..., 1:])

        shares = ab_bins.empirical_distribution(
            self.data_dir, self.image_size, classes, ab_bins.NUM_BINS
        )
        self.shares, self.weights = shares, ab_bins.class_weights(shares, self.rebalancing)

    def mean_colors(self, images):
        """Maps images [B, S, S, 3] to the mean Lab of every cell of the map, [B, h, w,
        3] float32.
        """
        return area_average(color.rgb_to_lab(images), *self._cells)

    def loss(self, model, batch, training):
        """Rebalanced cross-entropy with the soft-encoded colours; `accuracy`, `balanced_accuracy`,
        `color_error`, `gray_error`.

        Returns:
          losses [B] float32: means over places, and per-example metrics: `accuracy` the share of
            places whose nearest bin is the most
          likely one, `balanced_accuracy` the same with places weighted as in the loss,
          `color_error` the distance in ab of the annealed mean from the colour, `gray_error` that
          of grey.
        """
        ab = self.mean_colors(batch["image"])[..., 1:]
        with per_example_seeds(batch["seed"]):
            logits = model(model.backbone.normalize(batch["image"]), training=training)["ab"]
        return ab_losses(logits, ab, tf.constant(self.weights))

    def facts(self):
        """What always answering one colour scores, and how the numbers are computed."""
        return dict(
            chance=float(self.shares.max()),
            balanced_chance=float((self.shares * self.weights).max()),
            rebalancing=self.rebalancing,
            definition=f"share of the {self._cells[0]}x{self._cells[1]} cells of central crops "
            "whose mean colour is nearest to the bin of "
            "313 answered; balanced: cells weighted by the rarity of their colour, as in the loss; "
            "chance: always answering the bin that "
            "scores best; color_error: distance in ab of the annealed mean, gray_error: of grey; "
            "batch statistics not used",
        )

    def pictures(self, model):
        """`colorization`: what the network sees, the true colours at the map's size, its answer,
        and the true picture.
        """
        from ccssl_tf.pictures.captioned import PLAIN, draw_columns

        images = next(
            iter(self.dataset(self.eval_split or "train", 8, training=False, epoch_seed=(0, 0)))
        )["image"]
        logits = model(model.backbone.normalize(images), training=False)["ab"]
        lightness, asked = color.rgb_to_lab(images)[..., :1], self.mean_colors(images)[..., 1:]
        rows = {
            "in: lightness": painted(lightness, tf.zeros_like(asked)),
            "asked": painted(lightness, asked),
            "answered": painted(lightness, ab_bins.decode(logits)),
            "true picture": images.numpy(),
        }
        return dict(
            colorization=draw_columns(
                [
                    [(row[i], (name, PLAIN)) for name, row in rows.items()]
                    for i in range(len(images))
                ]
            )
        )


def ab_losses(logits, ab, weights):
    """Returns the losses and metrics of `Colorization.loss` from logits [B, h, w, 313], colours [B,
    h, w, 2] and class weights [313].
    """
    logits = tf.cast(logits, tf.float32)
    target, nearest = ab_bins.soft_encode(ab), ab_bins.nearest_bins(ab)
    one_hot = tf.one_hot(nearest, ab_bins.NUM_BINS)
    weight = tf.tensordot(one_hot, weights, 1)
    colorful = tf.cast(tf.reduce_max(tf.abs(ab), [1, 2, 3]) > ab_bins.GRAY_RADIUS, tf.float32)
    losses = (
        tf.reduce_mean(weight * tf.nn.softmax_cross_entropy_with_logits(target, logits), [1, 2])
        * colorful
    )
    right = tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), nearest), tf.float32)
    metrics = dict(
        accuracy=right,
        balanced_accuracy=right * weight,
        color_error=tf.norm(ab_bins.decode(logits) - ab, axis=-1),
        gray_error=tf.norm(ab, axis=-1),
    )
    return losses, {name: tf.reduce_mean(value, [1, 2]) for name, value in metrics.items()}


def painted(lightness, ab) -> np.ndarray:
    """Paints L [B, S, S, 1] with colours [B, h, w, 2], smoothly enlarged: [B, S, S, 3] uint8."""
    ab = tf.image.resize(ab, lightness.shape[1:3], "bilinear")
    return tf.cast(tf.round(color.lab_to_rgb(tf.concat([lightness, ab], -1))), tf.uint8).numpy()

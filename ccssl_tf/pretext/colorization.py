"""Colorization (Zhang, Isola, Efros 2016): which colours belong to a grey picture?"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.data import SMALL_IMAGE_SIZE
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.ops import color
from ccssl_tf.pictures.captioned import draw_rows
from ccssl_tf.pretext import ab_bins
from ccssl_tf.pretext.pixel_prediction import area_average, last_convolution, pixel_head
from ccssl_tf.runs.settings import setting
from ccssl_tf.task import ImageTask, TaskSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColorizationSettings(TaskSettings):
    """--task=colorization."""

    color_rebalancing: float = setting(
        0.5,
        "Class rebalancing lambda: share of the uniform distribution mixed into that of the "
        "colours; 1 weighs all colours alike.",
        minimum=0.01,
        maximum=1,
        paper=0.5,
    )
    pixel_head_units: int = setting(
        4096, "Units at every place of the head.", minimum=1, maximum=2**17, paper=4096
    )


class Colorization(ImageTask):
    """Classifies the colours of a grey picture's places into 313 bins of the ab plane.

    It sees lightness alone and answers at every place of the last convolution's map. The backbone
    is built to see grey (`colors`): any later stage hands it RGB images as ever, and it looks at
    their lightness in three equal channels. As in the paper: soft targets over the 5 nearest bins
    (sigma 5), the loss of a place weighted by its colour's rarity (lambda 0.5, the distribution of
    colours measured on the training images and smoothed), pictures from the annealed mean (T =
    0.38); pictures without colour are left out, as in the released code. Simplified: the target of
    a place is the mean colour of its cell of the map (8 x 8 at 64 pixels, 13 x 13 at 227), where
    the released network samples every eighth pixel and enlarges its logits to that grid; conv5 is
    not pooled before the head.

    >>> from ccssl_tf import Epoch, Colorization
    >>> task = Colorization(data_dir=data_dir, image_size=32)
    >>> next(iter(task.dataset("train", Epoch(batch_size=4))))["image"].shape.as_list()
    [4, 32, 32, 3]
    """

    colors = "gray"

    Settings: type[ColorizationSettings] = ColorizationSettings

    def __init__(self, settings: ColorizationSettings | None = None, **fields):
        """Takes the settings or their fields."""
        super().__init__(settings, **fields)
        self._shares: dict[tuple[str, int, int], np.ndarray] = {}

    def build_model(self, backbone):
        """Logits [B, h, w, 313] over the last convolution.

        Also measures how common the colours are at this map's size.
        """
        size, units = self.settings.image_size, self.settings.pixel_head_units
        images = keras.Input([size, size, 3], name="images")
        maps = backbone(images)[last_convolution(backbone)]
        logits = pixel_head(maps, ab_bins.NUM_BINS, units, size < SMALL_IMAGE_SIZE, "ab")
        model = keras.Model(images, dict(ab=logits), name="colorization")
        model.backbone = backbone
        self.shares(model)
        return model

    def _measured(self, name, model, classes, num_classes) -> np.ndarray:
        """Returns the share of each class of cells of this model's map, [num_classes].

        It is measured once a task: it follows from the settings and the map's size.

        Args:
          name: of the classes.
          model: whose map it is.
          classes: maps mean colours [b, h, w, 3] to class numbers [b, h, w].
          num_classes: Q.
        """
        key = name, *map_size(model)
        if key not in self._shares:
            with tf.init_scope():
                self._shares[key] = ab_bins.empirical_distribution(
                    self.settings.data_dir,
                    self.settings.image_size,
                    lambda images: classes(mean_colors(images, model)),
                    num_classes,
                )
        return self._shares[key]

    def shares(self, model) -> np.ndarray:
        """Returns the share of each of the 313 colours in training images.

        It is that at the size of this model's map.
        """
        return self._measured(
            "ab", model, lambda lab: ab_bins.nearest_bins(lab[..., 1:]), ab_bins.NUM_BINS
        )

    def weights(self, model) -> np.ndarray:
        """Returns the weight of each of the 313 colours in the loss."""
        return ab_bins.class_weights(self.shares(model), self.settings.color_rebalancing)

    def loss(self, model, batch, training):
        """Rebalanced cross-entropy with the soft-encoded colours, and metrics.

        Returns:
          losses [B] float32: means over places, and per-example metrics: `accuracy` the share of
            places whose nearest bin is the most
          likely one, `balanced_accuracy` the same with places weighted as in the loss,
          `color_error` the distance in ab of the annealed mean from the colour, `gray_error` that
          of grey.
        """
        ab = mean_colors(batch["image"], model)[..., 1:]
        with per_example_seeds(batch["seed"]):
            logits = model(model.backbone.normalize(batch["image"]), training=training)["ab"]
        return ab_losses(logits, ab, tf.constant(self.weights(model)))

    def facts(self, model, result=None):
        """What always answering one colour scores, and how the numbers are computed."""
        shares, (height, width) = self.shares(model), map_size(model)
        return dict(
            chance=float(shares.max()),
            balanced_chance=float((shares * self.weights(model)).max()),
            rebalancing=self.settings.color_rebalancing,
            definition=f"share of the {height}x{width} cells of central crops whose mean colour is "
            "nearest to the bin of 313 answered; balanced: cells weighted by the rarity of their "
            "colour, as in the loss; chance: always answering the bin that scores best; "
            "color_error: distance in ab of the annealed mean, gray_error: of grey; batch "
            "statistics not used",
        )

    def pictures(self, model, result=None):
        """`colorization`: what goes in, what is asked, what is answered, and the true picture.

        The true colours that are asked for are those at the map's size.
        """
        images = self.pictured_batch(8, model)["image"]
        logits = model(model.backbone.normalize(images), training=False)["ab"]
        lightness, asked = color.rgb_to_lab(images)[..., :1], mean_colors(images, model)[..., 1:]
        rows = {
            "in: lightness": painted(lightness, tf.zeros_like(asked)),
            "asked": painted(lightness, asked),
            "answered": painted(lightness, ab_bins.decode(logits)),
            "true picture": images.numpy(),
        }
        return dict(colorization=draw_rows(rows))


def map_size(model) -> tuple[int, int]:
    """Returns height and width, in cells, of the map that a model of `Colorization` answers on."""
    return model.output["ab"].shape[1:3]


def mean_colors(images, model):
    """Maps images [B, S, S, 3] to the mean Lab of every cell of the model's map.

    Returns [B, h, w, 3] float32.
    """
    return area_average(color.rgb_to_lab(images), *map_size(model))


def ab_losses(logits, ab, weights):
    """Returns the losses and metrics of `Colorization.loss`.

    Args:
      logits: [B, h, w, 313].
      ab: colours [B, h, w, 2].
      weights: of the classes, [313].
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

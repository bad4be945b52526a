"""Split-brain autoencoder (Zhang, Isola, Efros 2017): colour from lightness and the reverse.

Each half of the network guesses what the other sees.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.data import SMALL_IMAGE_SIZE
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.ops import color
from ccssl_tf.pictures.captioned import draw_rows
from ccssl_tf.pretext import ab_bins
from ccssl_tf.pretext.colorization import (
    Colorization,
    ColorizationSettings,
    ab_losses,
    mean_colors,
    painted,
)
from ccssl_tf.pretext.pixel_prediction import last_convolution, pixel_head

NUM_LIGHTNESS_BINS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitBrainSettings(ColorizationSettings):
    """--task=split_brain."""


class SplitBrain(Colorization):
    """Predicts colour from lightness and lightness from colour, each by half a network.

    At every place of the last convolution's map: ab (313 bins) from L, and L (100 bins of 1) from
    ab, both classification. The two half networks are one backbone (`colors="lab_halves"`) of which
    every layer is in two groups, conv1 over L and over ab; its endpoints are the halves side by
    side, and any later stage hands it RGB images as ever. Each half has its own head. The loss is
    the sum of both cross-entropies; L is a one-hot class. Simplified: as in `Colorization`; soft
    encoding and rebalancing of ab are those of colorization.

    >>> from ccssl_tf import Epoch, SplitBrain
    >>> task = SplitBrain(data_dir=data_dir, image_size=32)
    >>> next(iter(task.dataset("train", Epoch(batch_size=4))))["image"].shape.as_list()
    [4, 32, 32, 3]
    """

    Settings = SplitBrainSettings
    colors = "lab_halves"

    def build_model(self, backbone):
        """Logits of both halves: `ab` [B, h, w, 313] and `lightness` [B, h, w, 100].

        Those of `ab` are over the half that sees L, the others over the half that sees ab.
        """
        size, units = self.settings.image_size, max(1, self.settings.pixel_head_units // 2)
        images = keras.Input([size, size, 3], name="images")
        maps = backbone(images)[last_convolution(backbone)]
        seeing_l, seeing_ab = keras.ops.split(maps, 2, axis=-1)
        small = size < SMALL_IMAGE_SIZE
        outputs = dict(
            ab=pixel_head(seeing_l, ab_bins.NUM_BINS, units, small, "ab"),
            lightness=pixel_head(seeing_ab, NUM_LIGHTNESS_BINS, units, small, "lightness"),
        )
        model = keras.Model(images, outputs, name="split_brain")
        model.backbone = backbone
        self.shares(model)
        return model

    def lightness_shares(self, model) -> np.ndarray:
        """Returns the share of each of the 100 bins of lightness in training images.

        It is that at the size of this model's map.
        """
        return self._measured(
            "lightness", model, lambda lab: lightness_bins(lab[..., 0]), NUM_LIGHTNESS_BINS
        )

    def loss(self, model, batch, training):
        """Sum of both cross-entropies; the metrics of colorization, and those of lightness.

        These are `lightness_accuracy` and `lightness_error` (mean |L - answer|).
        """
        lab = mean_colors(batch["image"], model)
        with per_example_seeds(batch["seed"]):
            logits = model(model.backbone.normalize(batch["image"]), training=training)
        losses, metrics = ab_losses(logits["ab"], lab[..., 1:], tf.constant(self.weights(model)))
        lightness, bins = tf.cast(logits["lightness"], tf.float32), lightness_bins(lab[..., 0])
        losses += tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(bins, lightness), [1, 2]
        )
        right = tf.cast(tf.equal(tf.argmax(lightness, -1, tf.int32), bins), tf.float32)
        metrics["lightness_accuracy"] = tf.reduce_mean(right, [1, 2])
        metrics["lightness_error"] = tf.reduce_mean(
            tf.abs(mean_lightness(lightness) - lab[..., 0]), [1, 2]
        )
        return losses, metrics

    def facts(self, model, result=None):
        """Those of colorization, and what a constant answer scores for lightness."""
        bins = tf.range(NUM_LIGHTNESS_BINS, dtype=tf.float32).numpy() + 0.5
        shares = self.lightness_shares(model)
        mean = float(shares @ bins)
        facts = super().facts(model, result)
        return dict(
            facts,
            lightness_chance=float(shares.max()),
            mean_lightness_error=float(shares @ abs(bins - mean)),
            definition=facts["definition"]
            + "; lightness: likewise of 100 bins of L, error of the mean answer; "
            "mean_lightness_error: of always answering the mean",
        )

    def pictures(self, model, result=None):
        """`split_brain`: colour from lightness, and lightness from colour."""
        images = self.pictured_batch(8, model)["image"]
        answer = model(model.backbone.normalize(images), training=False)
        lab, cells = color.rgb_to_lab(images), mean_colors(images, model)
        lightness = tf.image.resize(
            mean_lightness(answer["lightness"])[..., None], images.shape[1:3], "bilinear"
        )
        asked_lightness = tf.image.resize(cells[..., :1], images.shape[1:3], "bilinear")
        rows = {
            "in: lightness": painted(lab[..., :1], tf.zeros_like(cells[..., 1:])),
            "asked: colour": painted(lab[..., :1], cells[..., 1:]),
            "answered": painted(lab[..., :1], ab_bins.decode(answer["ab"])),
            "in: colour": painted(tf.fill(lightness.shape, 60.0), lab[..., 1:]),
            "asked: lightness": painted(asked_lightness, tf.zeros_like(cells[..., 1:])),
            "answered ": painted(lightness, tf.zeros_like(cells[..., 1:])),
        }
        return dict(split_brain=draw_rows(rows))


def lightness_bins(lightness):
    """Maps L in [0, 100], any shape, to classes 0..99, int32."""
    return tf.clip_by_value(tf.cast(tf.floor(lightness), tf.int32), 0, NUM_LIGHTNESS_BINS - 1)


def mean_lightness(logits):
    """Maps logits [..., 100] to the mean L of their distribution, [...] float32."""
    centers = tf.range(NUM_LIGHTNESS_BINS, dtype=tf.float32) + 0.5
    return tf.tensordot(tf.nn.softmax(tf.cast(logits, tf.float32)), centers, 1)

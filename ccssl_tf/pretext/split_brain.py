"""Split-brain autoencoder (Zhang, Isola, Efros 2017): one half of the network guesses colour from
lightness, the other the reverse.
"""

import keras
import tensorflow as tf

from ccssl_tf.data import SMALL_IMAGE_SIZE
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.ops import color
from ccssl_tf.pretext import ab_bins
from ccssl_tf.pretext.colorization import Colorization, ab_losses, painted
from ccssl_tf.pretext.pixel_prediction import last_convolution, pixel_head

NUM_LIGHTNESS_BINS = 100


class SplitBrain(Colorization):
    """Predicts ab (313 bins) from L and L (100 bins of 1) from ab, at every place of the last
    convolution's map (both classification).

    The two half networks are one backbone (`colors="lab_halves"`) of which every layer is in two
    groups, conv1 over L and over ab; its endpoints are the halves side by side, and any later stage
    hands it RGB images as ever. Each half has its own head. The loss is the sum of both
    cross-entropies; L is a one-hot class. Simplified: as in `Colorization`; soft encoding and
    rebalancing of ab are those of colorization.
    """

    colors = "lab_halves"

    def build_model(self, backbone):
        """Logits `ab` [B, h, w, 313] over the half that sees L, `lightness` [B, h, w, 100] over the
        half that sees ab.
        """
        images = keras.Input([self.image_size, self.image_size, 3], name="images")
        maps = backbone(images)[last_convolution(backbone)]
        seeing_l, seeing_ab = keras.ops.split(maps, 2, axis=-1)
        small, units = self.image_size < SMALL_IMAGE_SIZE, max(1, self.head_units // 2)
        outputs = dict(
            ab=pixel_head(seeing_l, ab_bins.NUM_BINS, units, small, "ab"),
            lightness=pixel_head(seeing_ab, NUM_LIGHTNESS_BINS, units, small, "lightness"),
        )
        model = keras.Model(images, outputs, name="split_brain")
        model.backbone = backbone
        self._measure(maps.shape[1:3])
        return model

    def _measure(self, cells):
        if cells == self._cells:
            return
        super()._measure(cells)
        self.lightness_shares = ab_bins.empirical_distribution(
            self.data_dir,
            self.image_size,
            lambda images: lightness_bins(self.mean_colors(images)[..., 0]),
            NUM_LIGHTNESS_BINS,
        )

    def loss(self, model, batch, training):
        """Sum of both cross-entropies; the metrics of colorization, and `lightness_accuracy`,
        `lightness_error` (mean |L - answer|).
        """
        lab = self.mean_colors(batch["image"])
        with per_example_seeds(batch["seed"]):
            logits = model(model.backbone.normalize(batch["image"]), training=training)
        losses, metrics = ab_losses(logits["ab"], lab[..., 1:], tf.constant(self.weights))
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

    def facts(self):
        """Those of colorization, and what a constant answer scores for lightness."""
        bins = tf.range(NUM_LIGHTNESS_BINS, dtype=tf.float32).numpy() + 0.5
        mean = float(self.lightness_shares @ bins)
        facts = super().facts()
        return dict(
            facts,
            lightness_chance=float(self.lightness_shares.max()),
            mean_lightness_error=float(self.lightness_shares @ abs(bins - mean)),
            definition=facts["definition"]
            + "; lightness: likewise of 100 bins of L, error of the mean answer; "
            "mean_lightness_error: of "
            "always answering the mean",
        )

    def pictures(self, model):
        """`split_brain`: colour from lightness, and lightness from colour."""
        from ccssl_tf.pictures.captioned import PLAIN, draw_columns

        images = next(
            iter(self.dataset(self.eval_split or "train", 8, training=False, epoch_seed=(0, 0)))
        )["image"]
        answer = model(model.backbone.normalize(images), training=False)
        lab, cells = color.rgb_to_lab(images), self.mean_colors(images)
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
        return dict(
            split_brain=draw_columns(
                [
                    [(row[i], (name, PLAIN)) for name, row in rows.items()]
                    for i in range(len(images))
                ]
            )
        )


def lightness_bins(lightness):
    """Maps L in [0, 100], any shape, to classes 0..99, int32."""
    return tf.clip_by_value(tf.cast(tf.floor(lightness), tf.int32), 0, NUM_LIGHTNESS_BINS - 1)


def mean_lightness(logits):
    """Maps logits [..., 100] to the mean L of their distribution, [...] float32."""
    centers = tf.range(NUM_LIGHTNESS_BINS, dtype=tf.float32) + 0.5
    return tf.tensordot(tf.nn.softmax(tf.cast(logits, tf.float32)), centers, 1)

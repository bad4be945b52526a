"""Counting (Noroozi, Pirsiavash and Favaro 2017): the counts of quarters add up.

What the four quarters of an image show adds up to what the halved image shows. A network phi with
ReLU at its end counts visual primitives. Its loss (their equation 4), with tiles T_j x of a 2x2
grid and the halved image D x, is

    |phi(D x) - sum_j phi(T_j x)|^2 + max(0, M - |phi(D y) - sum_j phi(T_j x)|^2)

with another image y and M = 10.

As published: crops of 224 from a short side of 256 pixels, grey (the mean of RGB) with probability
0.67 for all images of a term alike, one of four ways of halving, fc6 and fc7 of 4096 units and 1000
counts, each after ReLU. Decided here: the mean of the second term over the seven other images of a
group of eight stands for one drawn y (the same in expectation, and free); grey is drawn once a
group, the way of halving once an image; "mean intensity" and "standard deviation" are those of the
crop, and the result is scaled by 50, as the same authors' Jigsaw++ does. Below 128 pixels the crop
is 7/8 of the image. Over a backbone with batch normalisation fc6, fc7 and the counts have it too.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.data import SMALL_IMAGE_SIZE, image_batches
from ccssl_tf.models.backbone import batch_normalization
from ccssl_tf.ops import per_example_random as random
from ccssl_tf.pictures.captioned import PLAIN, draw_columns, verdict
from ccssl_tf.pictures.puzzle import lay_out
from ccssl_tf.pretext.halving import STYLES, halve
from ccssl_tf.pretext.siamese import is_normalized
from ccssl_tf.pretext.tiles import GROUP, gray, normalize_tiles
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.settings import setting
from ccssl_tf.task import ImageTask, TaskSettings

_STYLE_STREAM = 200
_MIN_TILE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountingSettings(TaskSettings):
    """--task=counting."""

    counting_margin: float = setting(
        10.0, "M: squared distance that other images keep.", minimum=1e-3, paper=10.0
    )
    counting_gray_probability: float = setting(
        0.67, "Share of grey images.", minimum=0, maximum=1, paper=0.67
    )
    counting_fc_units: int = setting(
        4096, "Units of fc6 and of fc7.", minimum=1, maximum=2**17, paper=4096
    )
    counting_units: int = setting(
        1000, "Length of the counting vector.", minimum=1, maximum=2**17, paper=1000
    )

    @property
    def crop(self) -> int:
        """Side of the crop, twice that of a tile, in pixels."""
        if self.image_size < SMALL_IMAGE_SIZE:
            return self.image_size * 7 // 16 * 2
        return self.image_size // 2 * 2

    @property
    def short_side(self) -> int:
        """Short side of the image that is cropped, in pixels."""
        if self.image_size < SMALL_IMAGE_SIZE:
            return self.image_size
        return round(self.image_size * 256 / 224)

    def check(self):
        """Images are large enough for tiles."""
        super().check()
        if self.crop < 2 * _MIN_TILE:
            raise FlagError(
                f"--image_size={self.image_size}: too small for a 2x2 grid of {_MIN_TILE}-pixel "
                "tiles; use 19 or more"
            )


class Counting(ImageTask):
    """Learns counts that add up over the quarters of an image and differ between images.

    >>> from ccssl_tf import Epoch, Counting
    >>> task = Counting(data_dir=data_dir, image_size=32)
    >>> next(iter(task.dataset("train", Epoch(batch_size=8))))["image"].shape.as_list()
    [8, 28, 28, 3]
    """

    Settings = CountingSettings
    batch_multiple = GROUP

    def dataset(self, split, epoch, model=None):
        """Batches of `image` [B, crop, crop, 3] uint8.

        Random crops in training, the centre otherwise.
        """
        sizes = dict(crop_size=self.settings.crop, short_side=self.settings.short_side)
        return image_batches.cropped_images(self.settings.data_dir, split, epoch, **sizes)

    def build_model(self, backbone):
        """The backbone, fc6, fc7 and the counting vector."""
        settings = self.settings
        return CountingModel(
            backbone,
            tile_size=settings.crop // 2,
            fc_units=settings.counting_fc_units,
            num_counts=settings.counting_units,
            margin=settings.counting_margin,
        )

    def views(self, batch):
        """Returns [B, 5, t, t, 3] float32 as the network sees them.

        The first is the halved image, then come its quarters, row by row.
        """
        images, seed = tf.cast(batch["image"], tf.float32), batch["seed"]
        first_of_group = tf.repeat(seed[::GROUP], GROUP, axis=0)
        probability = self.settings.counting_gray_probability
        images = normalize_tiles(gray(images[:, None], first_of_group, probability)[:, 0])
        halved = halve(images, random.integers(seed, 1, _STYLE_STREAM, len(STYLES))[:, 0])
        top, bottom = tf.split(images, 2, axis=1)
        return tf.stack([halved, *tf.split(top, 2, axis=2), *tf.split(bottom, 2, axis=2)], axis=1)

    def distances(self, model, batch, training):
        """Returns the squared distances of counts within each group, [B / 8, 8, 8] float32.

        They are |phi(D x_j) - sum phi(T x_i)|^2 for tiles of image i and the halved image j.
        """
        counts = model.counts(self.views(batch), training)
        by_group = [-1, GROUP, self.settings.counting_units]
        halved = tf.reshape(counts[:, 0], by_group)
        summed = tf.reshape(tf.reduce_sum(counts[:, 1:], 1), by_group)
        return tf.reduce_sum(tf.square(halved[:, None] - summed[:, :, None]), -1)

    def loss(self, model, batch, training):
        """The contrastive loss.

        Metrics: `accuracy` (the own halved image is strictly the nearest of the group's eight),
        `own_distance` and `other_distance` (the squared distances to the own and, on average, the
        other halved images).
        """
        distances = self.distances(model, batch, training)
        to_itself = tf.linalg.diag_part(distances)
        others = 1 - tf.eye(GROUP)

        def mean_of_others(values):
            return tf.reduce_sum(values * others, -1) / (GROUP - 1)

        losses = to_itself + mean_of_others(tf.nn.relu(self.settings.counting_margin - distances))
        nearest_other = tf.reduce_min(tf.where(others > 0, distances, np.inf), -1)
        metrics = dict(
            accuracy=tf.cast(to_itself < nearest_other, tf.float32),
            own_distance=to_itself,
            other_distance=mean_of_others(distances),
        )
        return tf.reshape(losses, [-1]), {
            name: tf.reshape(value, [-1]) for name, value in metrics.items()
        }

    def facts(self, model, result=None):
        """What the accuracy is, for counting itself has no chance level."""
        return dict(
            chance=1 / GROUP,
            num_counts=self.settings.counting_units,
            margin=self.settings.counting_margin,
            definition="share of held-out images whose summed counts of tiles are nearer to the "
            f"counts of their own halved image than to those of {GROUP - 1} others (chance is a "
            f"guess among the {GROUP}; random weights do better than that); central crops, grey "
            f"with probability {self.settings.counting_gray_probability}; batch statistics not "
            "used",
        )

    def pictures(self, model, result=None):
        """`counting`: the tiles of eight images, and the halved image the model finds for them.

        It is the one whose counts are nearest to the sum of the tiles' counts.
        """
        batch = self.pictured_batch(GROUP, model)
        views = self.views(batch).numpy()
        low, high = views.min((1, 2, 3, 4), keepdims=True), views.max((1, 2, 3, 4), keepdims=True)
        visible = ((views - low) / np.maximum(high - low, 1e-6) * 255).astype(np.uint8)
        columns = []
        for number, distances in enumerate(self.distances(model, batch, training=False).numpy()[0]):
            nearest = int(np.argmin(distances))
            tiles = lay_out(visible[number, 1:], 2, gap=2)
            answer = (
                f"model: {nearest + 1}, distance {distances[nearest]:.3g}",
                verdict(nearest == number),
            )
            line = f"own: {number + 1}, distance {distances[number]:.3g}", PLAIN
            columns.append(
                [(tiles, (f"tiles of {number + 1}", PLAIN)), (visible[nearest, 0], answer, line)]
            )
        return dict(counting=draw_columns(columns))


class CountingModel(keras.Model):
    """`column`: one view to its counting vector."""

    def __init__(self, backbone, *, tile_size, fc_units, num_counts, margin):
        """Puts fc6, fc7 and the counts on `backbone`, normalised as it is.

        Without batch normalisation the start is CaffeNet's with biases of 0. With it all three
        layers have it, and the counts start at a scale at which squared distances are about the
        margin: far above it only the first term of the loss acts, and all counts die out.
        """
        super().__init__()
        self.backbone = backbone
        with_norm = is_normalized(backbone)
        view = keras.Input([tile_size, tile_size, 3], name="view")
        endpoints = backbone(view)
        x = keras.layers.Flatten()(endpoints.get("pool5", endpoints[backbone.endpoint_names[-1]]))
        for name, units, stddev in (
            ("fc6", fc_units, 0.005),
            ("fc7", fc_units, 0.005),
            ("counts", num_counts, 0.01),
        ):
            initializer = (
                "he_normal" if with_norm else keras.initializers.RandomNormal(stddev=stddev)
            )
            x = keras.layers.Dense(
                units, use_bias=not with_norm, kernel_initializer=initializer, name=name
            )(x)
            if with_norm:
                norm = batch_normalization(f"{name}_norm")
                if name == "counts":
                    norm.gamma_initializer = keras.initializers.Constant(
                        (margin / num_counts) ** 0.5
                    )
                x = norm(x)
            x = keras.layers.ReLU(
                name=f"{name}_relu", dtype="float32" if name == "counts" else None
            )(x)
        self.column = keras.Model(view, x, name="column")
        self.built = True

    def counts(self, views, training):
        """Maps views [B, V, t, t, 3] to counting vectors [B, V, K] float32.

        The column runs once over all B * V views.
        """
        flat = self.column(tf.reshape(views, [-1, *views.shape[2:]]), training=training)
        return tf.reshape(flat, [-1, views.shape[1], flat.shape[-1]])

    def call(self, views, training=False):
        """The counts of `views` [B, V, t, t, 3]."""
        return self.counts(views, training)

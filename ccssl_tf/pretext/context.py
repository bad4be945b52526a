"""Context (Doersch, Gupta and Efros 2015): where does one patch lie, seen from another?

There are eight answers. As the released code: patches of 96 pixels, gaps of 48, each patch jittered
by up to 7, a third of them downsampled and back, colours dropped; fc6 on each patch, fc7, fc8 and
the classes on both. Simplified: an image gives one square of four patches, from which all eight
relations are asked (there: four grids of as many patches as fit); AlexNet has batch normalisation
in every convolution where the released one has LRN in the first two, keeps its groups, and does not
pad conv1; He initialisation.
"""

import dataclasses

import tensorflow as tf

from ccssl_tf.data import pipeline
from ccssl_tf.pictures.context import draw_context
from ccssl_tf.pretext import context_patches as patches_lib
from ccssl_tf.pretext import siamese
from ccssl_tf.pretext import tiles as tiles_lib
from ccssl_tf.runs.settings import setting
from ccssl_tf.task import ImageTask, TaskSettings

_NUM_PICTURES = len(patches_lib.RELATIONS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContextSettings(TaskSettings):
    """--task=context."""

    color: str = setting(
        "drop",
        "Against chromatic aberration: drop: keep one channel of a patch (ColorDropping); project: "
        "take green-magenta out (ColorProjection).",
        choices=["none", "drop", "project"],
    )
    pairs_per_image: int = setting(
        8,
        "Different relations asked of an image's four patches in a step.",
        minimum=1,
        maximum=len(patches_lib.RELATIONS),
    )
    downsample_probability: float = setting(
        0.33,
        "Share of patches resized to fewer pixels and back.",
        minimum=0,
        maximum=1,
        paper=0.33,
    )
    patch_fc6_units: int = setting(
        4096, "Units of fc6, on each patch.", minimum=1, maximum=2**17, paper=4096
    )
    pair_fc_units: int = setting(
        4096, "Units of fc7 and of fc8, on a pair.", minimum=1, maximum=2**17, paper=4096
    )

    def check(self):
        """Images are large enough for patches."""
        super().check()
        patches_lib.ContextGeometry.for_image_size(self.image_size)


class Context(ImageTask):
    """Predicts the relation of pairs of patches.

    Patch features are computed once and paired several times.

    >>> from ccssl_tf import Epoch, Context
    >>> task = Context(data_dir=data_dir, image_size=32)
    >>> next(iter(task.dataset("train", Epoch(batch_size=4))))["image"].shape.as_list()
    [4, 32, 32, 3]
    """

    Settings = ContextSettings

    def __init__(self, settings: ContextSettings | None = None, **fields):
        """Takes the settings or their fields."""
        super().__init__(settings, **fields)
        self.geometry = patches_lib.ContextGeometry.for_image_size(self.settings.image_size)

    def dataset(self, split, epoch, model=None):
        """Batches of `image` [B, crop, crop, 3] uint8.

        Random areas and crops in training, the middle otherwise.
        """

        def load(parsed):
            seed = parsed["seed"] if epoch.training else None
            return dict(image=patches_lib.crop_image(parsed["encoded"], self.geometry, seed))

        return pipeline.batches(self.settings.data_dir, split, epoch, load=load)

    def build_model(self, backbone):
        """The shared column over patches, backbone and fc6, and the head over pairs.

        The head is fc7, fc8 and the eight relations over two concatenated features.
        """
        return siamese.SiameseModel(
            backbone,
            tile_size=self.geometry.patch,
            num_tiles=2,
            tile_units=self.settings.patch_fc6_units,
            head_units=[self.settings.pair_fc_units] * 2,
            num_classes=len(patches_lib.RELATIONS),
            with_norm=True,
        )

    def patches(self, batch):
        """Returns the four patches of each image as the network sees them.

        They are [B, 4, p, p, 3] float32, of root mean square 50.
        """
        seed, color = batch["seed"], self.settings.color
        patches = patches_lib.cut_patches(tf.cast(batch["image"], tf.float32), seed, self.geometry)
        patches = patches_lib.downsample(patches, seed, self.settings.downsample_probability)
        if color == "drop":
            return patches_lib.drop_colors(patches, seed)
        return tiles_lib.normalize_tiles(
            patches_lib.project_colors(patches) if color == "project" else patches
        )

    def loss(self, model, batch, training):
        """Cross-entropy and `accuracy`, each averaged over the image's pairs.

        Accuracy is the share of relations recognised.
        """
        order, relation = patches_lib.draw_pairs(batch["seed"], self.settings.pairs_per_image)
        return siamese.classification_loss(
            model, self.patches(batch), order, relation, batch["seed"], training
        )

    def facts(self, model, result=None):
        """Chance level and how the accuracy is computed."""
        settings = self.settings
        return dict(
            chance=1 / len(patches_lib.RELATIONS),
            color=settings.color,
            definition="share of pairs whose relation is recognised, "
            f"{settings.pairs_per_image} different relations an image, one fixed draw of jitter, "
            f"downsampling with probability {settings.downsample_probability} and colours "
            f"({settings.color}); batch statistics not used",
        )

    def pictures(self, model, result=None):
        """`context`: for each relation the crop, the pair of patches and the model's answer.

        The pair is as the network sees it; the answer is where it puts the second patch.
        """
        batch = self.pictured_batch(_NUM_PICTURES, model)
        patches = self.patches(batch)
        corners = patches_lib.patch_corners(batch["seed"], self.geometry)
        orders, relations = patches_lib.draw_pairs(batch["seed"], _NUM_PICTURES)
        # Of the first image the first relation is asked, and so on.
        asked = tf.where(relations == tf.range(_NUM_PICTURES)[:, None])[:, 1:]
        order = tf.gather(orders, asked, batch_dims=1)
        relation = tf.gather(relations, asked, batch_dims=1)
        answer = siamese.answers(model, patches, order)
        steps = tf.constant(patches_lib.RELATIONS)
        shown = (
            batch["image"],
            tf.gather(patches, order[:, 0], batch_dims=1),
            tf.gather(corners, order[:, 0], batch_dims=1),
            tf.gather(steps, relation[:, 0]),
            tf.gather(steps, answer[:, 0]),
        )
        return dict(context=draw_context(*(part.numpy() for part in shown)))

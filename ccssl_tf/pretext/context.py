"""Context (Doersch, Gupta and Efros 2015): where does one patch lie, seen from another? Eight
answers.

As the released code: patches of 96 pixels, gaps of 48, each patch jittered by up to 7, a third of
them downsampled and back, colours dropped; fc6 on each patch, fc7, fc8 and the classes on both.
Simplified: an image gives one square of four patches, from which all eight relations are asked
(there: four grids of as many patches as fit); AlexNet has batch normalisation in every convolution
where the released one has LRN in the first two, keeps its groups, and does not pad conv1; He
initialisation.
"""

import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.data import image_batches, pipeline
from ccssl_tf.pretext import context_patches as patches_lib
from ccssl_tf.pretext import siamese
from ccssl_tf.pretext import tiles as tiles_lib
from ccssl_tf.task import Task

_COLOR = flags.DEFINE_enum(
    "color",
    "drop",
    ["none", "drop", "project"],
    "Against chromatic aberration: drop: keep one channel of a patch (ColorDropping); project: "
    "take green-magenta out (ColorProjection).",
)
_PAIRS_PER_IMAGE = flags.DEFINE_integer(
    "pairs_per_image",
    8,
    "Different relations asked of an image's four patches in a step.",
    lower_bound=1,
    upper_bound=8,
)
_DOWNSAMPLE = flags.DEFINE_float(
    "downsample_probability",
    0.33,
    "Share of patches resized to fewer pixels and back; 0.33 as released.",
    lower_bound=0,
    upper_bound=1,
)
_PATCH_UNITS = flags.DEFINE_integer(
    "patch_fc6_units", 4096, "Units of fc6, on each patch; 4096 as released.", lower_bound=1
)
_PAIR_UNITS = flags.DEFINE_integer(
    "pair_fc_units", 4096, "Units of fc7 and of fc8, on a pair; 4096 as released.", lower_bound=1
)

_NUM_PICTURES = len(patches_lib.RELATIONS)


class Context(Task):
    """Predicts the relation of pairs of patches. Patch features are computed once and paired
    several times.
    """

    def __init__(
        self,
        *,
        data_dir,
        image_size,
        color,
        pairs_per_image,
        downsample_probability,
        patch_units,
        pair_units,
        eval_batch_size=64,
    ):
        """Args are those of the flags."""
        self.geometry = patches_lib.ContextGeometry.for_image_size(image_size)
        self.data_dir, self.color, self.pairs_per_image = data_dir, color, pairs_per_image
        self.downsample_probability, self.patch_units, self.pair_units = (
            downsample_probability,
            patch_units,
            pair_units,
        )
        self.eval_batch_size = eval_batch_size
        self.eval_split = image_batches.held_out_split(data_dir)

    @classmethod
    def from_flags(cls):
        """Reads this module's flags and those of the data and image size."""
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            image_size=network_flags.IMAGE_SIZE.value,
            color=_COLOR.value,
            pairs_per_image=_PAIRS_PER_IMAGE.value,
            downsample_probability=_DOWNSAMPLE.value,
            patch_units=_PATCH_UNITS.value,
            pair_units=_PAIR_UNITS.value,
        )

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """Batches of `image` [B, crop, crop, 3] uint8: random areas and crops in training, the
        middle otherwise.
        """

        def load(parsed):
            return dict(
                image=patches_lib.crop_image(
                    parsed["encoded"], self.geometry, parsed["seed"] if training else None
                )
            )

        options = dict(
            batch_size=batch_size, training=training, epoch_seed=epoch_seed, first_batch=first_batch
        )
        return pipeline.batches(self.data_dir, split, load=load, **options)

    def build_model(self, backbone):
        """The shared column over patches: backbone and fc6; then fc7, fc8 and the eight relations
        over two concatenated features.
        """
        return siamese.SiameseModel(
            backbone,
            tile_size=self.geometry.patch,
            num_tiles=2,
            tile_units=self.patch_units,
            head_units=[self.pair_units] * 2,
            num_classes=len(patches_lib.RELATIONS),
            with_norm=True,
        )

    def patches(self, batch):
        """Returns the four patches of each image as the network sees them: [B, 4, p, p, 3] float32,
        root mean square 50.
        """
        seed = batch["seed"]
        patches = patches_lib.cut_patches(tf.cast(batch["image"], tf.float32), seed, self.geometry)
        patches = patches_lib.downsample(patches, seed, self.downsample_probability)
        if self.color == "drop":
            return patches_lib.drop_colors(patches, seed)
        return tiles_lib.normalize_tiles(
            patches_lib.project_colors(patches) if self.color == "project" else patches
        )

    def loss(self, model, batch, training):
        """Cross-entropy and `accuracy` (share of relations recognised), each averaged over the
        image's pairs.
        """
        order, relation = patches_lib.draw_pairs(batch["seed"], self.pairs_per_image)
        return siamese.classification_loss(
            model, self.patches(batch), order, relation, batch["seed"], training
        )

    def facts(self):
        """Chance level and how the accuracy is computed."""
        return dict(
            chance=1 / len(patches_lib.RELATIONS),
            color=self.color,
            definition=f"share of pairs whose relation is recognised, {self.pairs_per_image} "
            "different relations an image, one fixed draw "
            f"of jitter, downsampling with probability {self.downsample_probability} and colours "
            f"({self.color}); batch statistics not used",
        )

    def pictures(self, model):
        """`context`: rows of the crop, the pair as the network sees it, and where the model puts
        the second patch, for each relation.
        """
        from ccssl_tf.pictures.context import draw_context

        batch = next(
            iter(
                self.dataset(
                    self.eval_split or "train", _NUM_PICTURES, training=False, epoch_seed=(0, 0)
                )
            )
        )
        patches, corners = (
            self.patches(batch),
            patches_lib.patch_corners(batch["seed"], self.geometry),
        )
        orders, relations = patches_lib.draw_pairs(batch["seed"], _NUM_PICTURES)
        # Of the first image the first relation is asked, and so on.
        asked = tf.where(relations == tf.range(_NUM_PICTURES)[:, None])[:, 1:]
        order, relation = (
            tf.gather(orders, asked, batch_dims=1),
            tf.gather(relations, asked, batch_dims=1),
        )
        answer = siamese.answers(model, patches, order)
        pair = (
            tf.gather(patches, order[:, 0], batch_dims=1),
            tf.gather(corners, order[:, 0], batch_dims=1),
        )
        return dict(
            context=draw_context(
                batch["image"].numpy(),
                *(part.numpy() for part in (*pair, relation[:, 0], answer[:, 0])),
            )
        )

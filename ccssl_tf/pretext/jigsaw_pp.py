"""Jigsaw++ (paper section 4.1): solve a 3x3 puzzle in which up to two tiles come from another image."""

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.data import SMALL_IMAGE_SIZE, image_ops, pipeline
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.layers.per_example_dropout import PerExampleDropout, per_example_seeds
from ccssl_tf.models.backbone import batch_normalization
from ccssl_tf.ops import per_example_random as random
from ccssl_tf.pretext import tiles as tiles_lib
from ccssl_tf.pretext.permutations import permutation_set
from ccssl_tf.task import Task

_NUM_PERMUTATIONS = flags.DEFINE_integer("num_permutations", 701, "Classes (701 in the paper).", lower_bound=2, upper_bound=10_000)
_PERMUTATIONS_FILE = flags.DEFINE_string("permutations_file", None, "Permutation set in the authors' binary format; none: our own 701.")
_PERMUTATIONS_PER_IMAGE = flags.DEFINE_integer(
    "permutations_per_image", 8, "Permutations of the same tile features an image and step; 1 in the paper.", lower_bound=1
)
_GRAY_PROBABILITY = flags.DEFINE_float("gray_probability", 0.7, "Share of grey puzzles; 0.7 in the paper.", lower_bound=0, upper_bound=1)
_TILE_UNITS = flags.DEFINE_integer("tile_fc6_units", 1024, "Units of fc6, one tile at a time; 1024 in the paper.", lower_bound=1)
_HEAD_UNITS = flags.DEFINE_integer("puzzle_fc7_units", 4096, "Units of fc7, over all nine tiles; 4096 in the paper.", lower_bound=1)

_PERMUTATION_STREAM = 100


class JigsawPP(Task):
    """Predicts which permutation the tiles were shown in. Tile features are computed once and permuted several times."""

    batch_multiple = tiles_lib.GROUP

    def __init__(
        self,
        *,
        data_dir,
        image_size,
        permutations,
        permutations_per_image,
        gray_probability,
        tile_units,
        head_units,
        permutations_file=None,
        eval_batch_size=64,
    ):
        """Args are those of the flags; `permutations` is [P, 9] int64, `permutations_file` only says where they are from."""
        self.permutations_file = permutations_file
        self.geometry = tiles_lib.TileGeometry.for_image_size(image_size)
        self.data_dir, self.permutations, self.permutations_per_image = data_dir, permutations, permutations_per_image
        self.gray_probability, self.tile_units, self.head_units = gray_probability, tile_units, head_units
        self.eval_batch_size = eval_batch_size
        self.with_norm = image_size < SMALL_IMAGE_SIZE
        self.splits = Manifest.read(data_dir, "images").splits

    @classmethod
    def from_flags(cls):
        """Reads this module's flags and those of the data and image size."""
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            image_size=network_flags.IMAGE_SIZE.value,
            permutations=permutation_set(_NUM_PERMUTATIONS.value, _PERMUTATIONS_FILE.value),
            permutations_file=_PERMUTATIONS_FILE.value,
            permutations_per_image=_PERMUTATIONS_PER_IMAGE.value,
            gray_probability=_GRAY_PROBABILITY.value,
            tile_units=_TILE_UNITS.value,
            head_units=_HEAD_UNITS.value,
        )

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """Batches of `image` [B, crop, crop, 3] uint8: random crops in training, the centre otherwise."""
        sizes = self.geometry.crop, self.geometry.short_side

        def load(parsed):
            if training:
                return dict(image=image_ops.random_crop(parsed["encoded"], *sizes, parsed["seed"]))
            return dict(image=image_ops.center_crop(parsed["encoded"], *sizes))

        options = dict(batch_size=batch_size, training=training, epoch_seed=epoch_seed, first_batch=first_batch)
        return pipeline.batches(self.data_dir, split, load=load, **options)

    def build_model(self, backbone):
        """The shared column over tiles: backbone, fc6 on each tile; then fc7 and the classes over nine concatenated features."""
        return JigsawModel(
            backbone,
            tile_size=self.geometry.tile,
            tile_units=self.tile_units,
            head_units=self.head_units,
            num_classes=len(self.permutations),
            with_norm=self.with_norm,
        )

    def puzzles(self, batch):
        """Returns unpermuted tiles [B, 9, t, t, 3] float32 as the network sees them, and which are occluded [B, 9] bool."""
        # As floats from the start: TensorFlow gathers uint8 on the CPU only.
        tiles = tiles_lib.cut_tiles(tf.cast(batch["image"], tf.float32), batch["seed"], self.geometry)
        tiles, occluded = tiles_lib.occlude(tiles, batch["seed"])
        tiles = tiles_lib.gray(tiles, batch["seed"], self.gray_probability)
        return tiles_lib.normalize_tiles(tiles), occluded

    def permutation_indices(self, seed):
        """Returns [B, M] int32: M permutations for each puzzle."""
        return random.integers(seed, self.permutations_per_image, _PERMUTATION_STREAM, len(self.permutations))

    def loss(self, model, batch, training):
        """Cross-entropy and `accuracy` (share of permutations recognised), each averaged over the image's permutations."""
        tiles, _ = self.puzzles(batch)
        permutation_index = self.permutation_indices(batch["seed"])
        with per_example_seeds(batch["seed"]):
            features = model.tile_features(tiles, training)
            logits = model.head(self.permuted(features, permutation_index), training=training)
        labels = tf.reshape(permutation_index, [-1])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))
        solved = tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), labels), tf.float32)
        per_image = [-1, self.permutations_per_image]
        return tf.reduce_mean(tf.reshape(losses, per_image), 1), dict(accuracy=tf.reduce_mean(tf.reshape(solved, per_image), 1))

    def permuted(self, features, permutation_index):
        """Maps tile features [B, 9, F] and permutations [B, M] to [B * M, 9 * F]: slot s shows tile permutation[s]."""
        order = tf.gather(tf.constant(self.permutations, tf.int32), permutation_index)
        # A product with a 0/1 matrix, not a gather: its gradient is the same on every run and device.
        shown = tf.einsum("bmst,btf->bmsf", tf.one_hot(order, 9, dtype=features.dtype), features)
        return tf.reshape(shown, [-1, 9 * features.shape[-1]])

    def evaluate(self, model):
        """Loss and the share of held-out puzzles solved."""
        return self.mean_over_split(model, "val", self.eval_batch_size) if "val" in self.splits else {}

    def inputs(self):
        """The permutation set, where it is not our own."""
        return dict(permutations_file=self.permutations_file)

    def facts(self):
        """Chance level and how the accuracy is computed."""
        return dict(
            chance=1 / len(self.permutations),
            num_permutations=len(self.permutations),
            definition=f"share of puzzles solved, {self.permutations_per_image} permutations an image, one fixed draw of tile offsets, "
            f"0 to {tiles_lib.MAX_OCCLUSIONS} occluding tiles and grey with probability {self.gray_probability}; batch statistics not used",
        )

    def pictures(self, model):
        """`puzzle`: rows of the crop, the puzzle as shown, and the model's solution, for eight images."""
        from ccssl_tf.pretext.puzzle_picture import draw_puzzles

        split = "val" if "val" in self.splits else "train"
        batch = next(iter(self.dataset(split, tiles_lib.GROUP, training=False, epoch_seed=(0, 0))))
        tiles, occluded = self.puzzles(batch)
        index = self.permutation_indices(batch["seed"])[:, :1]
        answer = np.argmax(model.head(self.permuted(model.tile_features(tiles, False), index), training=False), -1)
        index = index[:, 0].numpy()
        pictures = batch["image"].numpy(), tiles.numpy(), occluded.numpy()
        return dict(puzzle=draw_puzzles(*pictures, self.permutations[index], self.permutations[answer], self.geometry))


class JigsawModel(keras.Model):
    """Two parts: `column` (one tile to fc6 features) and `head` (nine features to permutation logits)."""

    def __init__(self, backbone, *, tile_size, tile_units, head_units, num_classes, with_norm):
        """Args: with_norm: batch normalisation after fc6 and fc7, for small images; the paper's network has dropout instead."""
        super().__init__()
        self.backbone = backbone

        def block(x, units, number, name):
            stddev = 0.005
            x = keras.layers.Dense(
                units,
                use_bias=not with_norm,
                kernel_initializer="he_normal" if with_norm else keras.initializers.RandomNormal(stddev=stddev),
                bias_initializer="ones",
                name=name,
            )(x)
            x = batch_normalization(f"{name}_norm")(x) if with_norm else x
            x = keras.layers.ReLU(name=f"{name}_relu")(x)
            return x if with_norm else PerExampleDropout(0.5, stream=1100 + number, name=f"{name}_dropout")(x)

        tile = keras.Input([tile_size, tile_size, 3], name="tile")
        endpoints = backbone(tile)
        last = endpoints["pool5"] if "pool5" in endpoints else endpoints[backbone.endpoint_names[-1]]
        self.column = keras.Model(tile, block(keras.layers.Flatten()(last), tile_units, 6, "fc6"), name="column")
        nine = keras.Input([9 * tile_units], name="tile_features")
        logits = keras.layers.Dense(
            num_classes, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), dtype="float32", name="logits"
        )
        self.head = keras.Model(nine, logits(block(nine, head_units, 7, "fc7")), name="head")
        self.built = True

    def tile_features(self, tiles, training):
        """Maps tiles [B, 9, t, t, 3] to features [B, 9, F]; the column runs once over all B * 9 tiles."""
        flat = tf.reshape(tiles, [-1, *tiles.shape[2:]])
        return tf.reshape(self.column(flat, training=training), [-1, 9, self.column.output.shape[-1]])

    def call(self, tiles, training=False):
        """Logits [B, P] for tiles [B, 9, t, t, 3] in the order shown."""
        features = self.tile_features(tiles, training)
        return self.head(tf.reshape(features, [-1, 9 * features.shape[-1]]), training=training)

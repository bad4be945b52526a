"""Jigsaw (Noroozi and Favaro 2016): solve a 3x3 puzzle of an image's own tiles.

What the sources leave open or contradict: tiles are cut and normalised as Jigsaw++'s are, one mean
and standard deviation a tile (the article normalises tiles so; the released code subtracts each
tile's channel means only); a random crop in training; grey in 30% of the puzzles (the article; the
released code has no grey).
"""

import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags, stage_flags
from ccssl_tf.data import pipeline
from ccssl_tf.ops import per_example_random as random
from ccssl_tf.pretext import siamese
from ccssl_tf.pretext import tiles as tiles_lib
from ccssl_tf.pretext.permutations import hamming_distances, permutation_set
from ccssl_tf.task import Task

_NUM_PERMUTATIONS = flags.DEFINE_integer(
    "num_permutations", 701, "Classes (701 in the paper).", lower_bound=2, upper_bound=10_000
)
_PERMUTATIONS_FILE = flags.DEFINE_string(
    "permutations_file", None, "Permutation set in the authors' binary format; none: our own 701."
)
_PERMUTATIONS_PER_IMAGE = flags.DEFINE_integer(
    "permutations_per_image",
    8,
    "Permutations of the same tile features an image and step; 1 in the paper.",
    lower_bound=1,
)
_GRAY_PROBABILITY = flags.DEFINE_float(
    "gray_probability",
    None,
    "Share of grey puzzles; none: 0.7 for jigsaw_pp, 0.3 for jigsaw, as published.",
    lower_bound=0,
    upper_bound=1,
)
_TILE_UNITS = flags.DEFINE_integer(
    "tile_fc6_units", 1024, "Units of fc6, one tile at a time; 1024 in the paper.", lower_bound=1
)
_HEAD_UNITS = flags.DEFINE_integer(
    "puzzle_fc7_units", 4096, "Units of fc7, over all nine tiles; 4096 in the paper.", lower_bound=1
)

_PERMUTATION_STREAM = 100
_NUM_PICTURES = 8


class Jigsaw(Task):
    """Predicts which permutation the tiles were shown in. Tile features are computed once and
    permuted several times.
    """

    published_gray_probability = 0.3
    drawn = "tile offsets"

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
        """Args are those of the flags; `permutations` is [P, 9] int64, `permutations_file` only
        says where they are from.
        """
        self.permutations_file = permutations_file
        self.geometry = tiles_lib.TileGeometry.for_image_size(image_size)
        self.data_dir, self.permutations, self.permutations_per_image = (
            data_dir,
            permutations,
            permutations_per_image,
        )
        self.gray_probability, self.tile_units, self.head_units = (
            gray_probability,
            tile_units,
            head_units,
        )
        self.eval_batch_size = eval_batch_size
        self.eval_split = pipeline.held_out_split(data_dir)

    @classmethod
    def from_flags(cls):
        """Reads this module's flags and those of the data and image size."""
        if _GRAY_PROBABILITY.value is None:
            flags.FLAGS.gray_probability = cls.published_gray_probability  # Recorded with the run.
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
        """Batches of `image` [B, crop, crop, 3] uint8: random crops in training, the centre
        otherwise.
        """
        options = dict(
            batch_size=batch_size, training=training, epoch_seed=epoch_seed, first_batch=first_batch
        )
        return pipeline.cropped_images(
            self.data_dir,
            split,
            crop_size=self.geometry.crop,
            short_side=self.geometry.short_side,
            **options,
        )

    def build_model(self, backbone):
        """The shared column over tiles: backbone, fc6 on each tile; then fc7 and the classes over
        nine concatenated features.
        """
        return siamese.SiameseModel(
            backbone,
            tile_size=self.geometry.tile,
            num_tiles=9,
            tile_units=self.tile_units,
            head_units=[self.head_units],
            num_classes=len(self.permutations),
            with_norm=siamese.is_normalized(backbone),
        )

    def occlude(self, tiles, seed):
        """Returns the tiles [B, 9, t, t, 3] and which of them are foreign [B, 9] bool:
        none here.
        """
        return tiles, tf.zeros(tf.shape(tiles)[:2], tf.bool)

    def puzzles(self, batch):
        """Returns unpermuted tiles [B, 9, t, t, 3] float32 as the network sees them, and which are
        occluded [B, 9] bool.
        """
        # As floats from the start: TensorFlow gathers uint8 on the CPU only.
        tiles = tiles_lib.cut_tiles(
            tf.cast(batch["image"], tf.float32), batch["seed"], self.geometry
        )
        tiles, occluded = self.occlude(tiles, batch["seed"])
        tiles = tiles_lib.gray(tiles, batch["seed"], self.gray_probability)
        return tiles_lib.normalize_tiles(tiles), occluded

    def permutation_indices(self, seed):
        """Returns [B, M] int32: M permutations for each puzzle."""
        return random.integers(
            seed, self.permutations_per_image, _PERMUTATION_STREAM, len(self.permutations)
        )

    def orders(self, permutation_index):
        """Returns [B, M, 9] int32, the tile in each slot under permutations [B, M]."""
        return tf.gather(tf.constant(self.permutations, tf.int32), permutation_index)

    def loss(self, model, batch, training):
        """Cross-entropy and `accuracy` (share of permutations recognised), each averaged over the
        image's permutations.
        """
        tiles, _ = self.puzzles(batch)
        index = self.permutation_indices(batch["seed"])
        return siamese.classification_loss(
            model, tiles, self.orders(index), index, batch["seed"], training
        )

    def inputs(self):
        """The permutation set, where it is not our own."""
        return dict(permutations_file=self.permutations_file)

    def facts(self):
        """Chance level, the set of permutations, and how the accuracy is computed."""
        return dict(
            chance=1 / len(self.permutations),
            num_permutations=len(self.permutations),
            min_hamming_distance=int(hamming_distances(self.permutations).min()),
            definition=f"share of puzzles solved, {self.permutations_per_image} permutations an "
            f"image, one fixed draw of {self.drawn} "
            f"and grey with probability {self.gray_probability}; batch statistics not used",
        )

    def pictures(self, model):
        """`puzzle`: rows of the crop, the puzzle as shown, and the model's solution, for eight
        images.
        """
        from ccssl_tf.pictures.puzzle import draw_puzzles

        batch = next(
            iter(
                self.dataset(
                    self.eval_split or "train", _NUM_PICTURES, training=False, epoch_seed=(0, 0)
                )
            )
        )
        tiles, occluded = self.puzzles(batch)
        index = self.permutation_indices(batch["seed"])[:, :1]
        answer = siamese.answers(model, tiles, self.orders(index))[:, 0].numpy()
        pictures = batch["image"].numpy(), tiles.numpy(), occluded.numpy()
        orders = self.permutations[index[:, 0].numpy()], self.permutations[answer]
        return dict(puzzle=draw_puzzles(*pictures, *orders, self.geometry))

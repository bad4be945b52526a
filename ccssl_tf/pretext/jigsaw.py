"""Jigsaw (Noroozi and Favaro 2016): solve a 3x3 puzzle of an image's own tiles.

What the sources leave open or contradict: tiles are cut and normalised as Jigsaw++'s are, one mean
and standard deviation a tile (the article normalises tiles so; the released code subtracts each
tile's channel means only); a random crop in training; grey in 30% of the puzzles (the article; the
released code has no grey).
"""

import dataclasses

import tensorflow as tf

from ccssl_tf.data import image_batches
from ccssl_tf.ops import per_example_random as random
from ccssl_tf.pictures.puzzle import draw_puzzles
from ccssl_tf.pretext import siamese
from ccssl_tf.pretext import tiles as tiles_lib
from ccssl_tf.pretext.permutations import hamming_distances, permutation_set
from ccssl_tf.runs.settings import setting
from ccssl_tf.task import ImageTask, TaskSettings

_PERMUTATION_STREAM = 100
_NUM_PICTURES = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class JigsawSettings(TaskSettings):
    """--task=jigsaw."""

    num_permutations: int = setting(701, "Classes.", minimum=2, maximum=10_000, paper=701)
    permutations_file: str | None = setting(
        None, "Permutation set in the authors' binary format; none: our own 701."
    )
    permutations_per_image: int = setting(
        8,
        "Permutations of the same tile features an image and step.",
        minimum=1,
        maximum=10_000,
        paper=1,
    )
    gray_probability: float = setting(
        0.3, "Share of grey puzzles.", minimum=0, maximum=1, paper=0.3
    )
    tile_fc6_units: int = setting(
        1024, "Units of fc6, one tile at a time.", minimum=1, maximum=2**17, paper=1024
    )
    puzzle_fc7_units: int = setting(
        4096, "Units of fc7, over all nine tiles.", minimum=1, maximum=2**17, paper=4096
    )

    def check(self):
        """Images are large enough for tiles."""
        super().check()
        tiles_lib.TileGeometry.for_image_size(self.image_size)


class Jigsaw(ImageTask):
    """Predicts which permutation the tiles were shown in.

    Tile features are computed once and permuted several times.

    Attributes:
      permutations: [P, 9] int64, the tile in each slot under each permutation.

    >>> from ccssl_tf import Epoch, Jigsaw
    >>> task = Jigsaw(data_dir=data_dir, image_size=32)
    >>> next(iter(task.dataset("train", Epoch(batch_size=4))))["image"].shape.as_list()
    [4, 30, 30, 3]
    """

    Settings: type[JigsawSettings] = JigsawSettings
    drawn = "tile offsets"

    def __init__(self, settings: JigsawSettings | None = None, **fields):
        """Takes the settings or their fields."""
        super().__init__(settings, **fields)
        settings = self.settings
        self.geometry = tiles_lib.TileGeometry.for_image_size(settings.image_size)
        self.permutations = permutation_set(settings.num_permutations, settings.permutations_file)

    def dataset(self, split, epoch, model=None):
        """Batches of `image` [B, crop, crop, 3] uint8.

        Random crops in training, the centre otherwise.
        """
        sizes = dict(crop_size=self.geometry.crop, short_side=self.geometry.short_side)
        return image_batches.cropped_images(self.settings.data_dir, split, epoch, **sizes)

    def build_model(self, backbone):
        """The shared column over tiles, backbone and fc6, and the head over puzzles.

        The head is fc7 and the classes over nine concatenated features.
        """
        return siamese.SiameseModel(
            backbone,
            tile_size=self.geometry.tile,
            num_tiles=9,
            tile_units=self.settings.tile_fc6_units,
            head_units=[self.settings.puzzle_fc7_units],
            num_classes=len(self.permutations),
            with_norm=siamese.is_normalized(backbone),
        )

    def occlude(self, tiles, seed):
        """Returns the tiles [B, 9, t, t, 3] and which of them are foreign [B, 9] bool.

        Here none are.
        """
        return tiles, tf.zeros(tf.shape(tiles)[:2], tf.bool)

    def puzzles(self, batch):
        """Returns unpermuted tiles [B, 9, t, t, 3] float32 and which are occluded [B, 9] bool.

        Tiles are as the network sees them.
        """
        # As floats from the start: TensorFlow gathers uint8 on the CPU only.
        tiles = tiles_lib.cut_tiles(
            tf.cast(batch["image"], tf.float32), batch["seed"], self.geometry
        )
        tiles, occluded = self.occlude(tiles, batch["seed"])
        tiles = tiles_lib.gray(tiles, batch["seed"], self.settings.gray_probability)
        return tiles_lib.normalize_tiles(tiles), occluded

    def permutation_indices(self, seed):
        """Returns [B, M] int32: M permutations for each puzzle."""
        return random.integers(
            seed, self.settings.permutations_per_image, _PERMUTATION_STREAM, len(self.permutations)
        )

    def orders(self, permutation_index):
        """Returns [B, M, 9] int32, the tile in each slot under permutations [B, M]."""
        return tf.gather(tf.constant(self.permutations, tf.int32), permutation_index)

    def loss(self, model, batch, training):
        """Cross-entropy and `accuracy`, each averaged over the image's permutations.

        Accuracy is the share of permutations recognised.
        """
        tiles, _ = self.puzzles(batch)
        index = self.permutation_indices(batch["seed"])
        return siamese.classification_loss(
            model, tiles, self.orders(index), index, batch["seed"], training
        )

    def inputs(self):
        """The permutation set, where it is not our own."""
        return dict(permutations_file=self.settings.permutations_file)

    def facts(self, model, result=None):
        """Chance level, the set of permutations, and how the accuracy is computed."""
        settings = self.settings
        return dict(
            chance=1 / len(self.permutations),
            num_permutations=len(self.permutations),
            min_hamming_distance=int(hamming_distances(self.permutations).min()),
            definition=f"share of puzzles solved, {settings.permutations_per_image} permutations "
            f"an image, one fixed draw of {self.drawn} and grey with probability "
            f"{settings.gray_probability}; batch statistics not used",
        )

    def pictures(self, model, result=None):
        """`puzzle`: the crop, the puzzle as shown, and the model's solution, for eight images."""
        batch = self.pictured_batch(_NUM_PICTURES, model)
        tiles, occluded = self.puzzles(batch)
        index = self.permutation_indices(batch["seed"])[:, :1]
        answer = siamese.answers(model, tiles, self.orders(index))[:, 0].numpy()
        pictures = batch["image"].numpy(), tiles.numpy(), occluded.numpy()
        orders = self.permutations[index[:, 0].numpy()], self.permutations[answer]
        return dict(puzzle=draw_puzzles(*pictures, *orders, self.geometry))

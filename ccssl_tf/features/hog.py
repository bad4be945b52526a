"""Bag of words of HOG (CC+HOG in Table 3 of the paper): descriptors of local gradients, counted by
the visual word each is nearest to.

The paper gives neither cell nor codebook nor pooling. Ours: blocks of 2x2 cells of 8 pixels with 9
orientations (Dalal and Triggs), one at every cell; k-means words; counts divided by their sum
(experiments/PROTOCOLS.md, "HOG").
"""

import pathlib

import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import network_flags
from ccssl_tf.data import pipeline
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features import hog_codebook
from ccssl_tf.ops.hog_blocks import MAX_ORIENTATIONS, hog_blocks, num_blocks
from ccssl_tf.runs import launch, machine
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

_ORIENTATIONS = flags.DEFINE_integer(
    "hog_orientations",
    9,
    "Bins over 180 degrees (9: Dalal and Triggs).",
    lower_bound=1,
    upper_bound=MAX_ORIENTATIONS,
)
_CELL = flags.DEFINE_integer(
    "hog_cell",
    8,
    "Side of a HOG cell, pixels (8: Dalal and Triggs; 4 for images of 64 pixels).",
    lower_bound=1,
)
_BLOCK = flags.DEFINE_integer(
    "hog_block",
    2,
    "Side of a block, cells: a block is one descriptor (2: Dalal and Triggs).",
    lower_bound=1,
)
_WORDS = flags.DEFINE_integer("hog_words", 1000, "Visual words in the codebook.", lower_bound=1)
_GRID = flags.DEFINE_integer(
    "hog_grid",
    1,
    "Cells a side of the grid with a histogram of its own for each; 1: one for the whole image.",
    lower_bound=1,
)
_SAMPLE_IMAGES = flags.DEFINE_integer(
    "hog_sample_images",
    5000,
    f"Images the codebook is learnt from, {hog_codebook.POSITIONS_PER_IMAGE} descriptors of each.",
    lower_bound=1,
)
_CODEBOOK = flags.DEFINE_string(
    "codebook",
    None,
    "Workdir of a finished extraction with --extractor=hog whose codebook is used: for the other "
    "splits. None: learn one.",
)
# Pixels worked on at a time by each core: enough to hide the calls, little enough for the cache.
_BLOCK_PIXELS = 2**18


class HogExtractor:
    """Histogram of visual words of the whole image, by cells of a grid; the sum of all its entries
    is 1.
    """

    @classmethod
    def from_flags(cls, make_backbone):
        """Reads --hog_* and --codebook; a backbone has no part in it."""
        del make_backbone
        return cls(
            orientations=_ORIENTATIONS.value,
            cell=_CELL.value,
            block=_BLOCK.value,
            words=_WORDS.value,
            grid=_GRID.value,
            sample_images=_SAMPLE_IMAGES.value,
            image_size=network_flags.IMAGE_SIZE.value,
            codebook_dir=_CODEBOOK.value,
            seed=launch.SEED.value,
        )

    def __init__(
        self,
        *,
        orientations: int,
        cell: int,
        block: int,
        words: int,
        grid: int,
        sample_images: int,
        image_size: int,
        codebook_dir,
        seed: int,
    ):
        """Checks the sizes, and the codebook if one is given.

        Args:
          orientations, cell, block: as `ops.hog_blocks`.
          words: V, of the codebook.
          grid: G; G x G histograms.
          sample_images: images a codebook is learnt from.
          image_size: S, pixels a side of the square that is described.
          codebook_dir: workdir of the extraction whose codebook is used; None: `prepare` learns
            one.
          seed: of the codebook.

        Raises:
          InputError: no block fits into the image, or no position into a cell of the grid; a
            codebook of other settings.
        """
        self._side = num_blocks(image_size, cell, block)
        if self._side < 1:
            raise InputError(
                f"--image_size={image_size}: smaller than a block of {block}x{block} cells of "
                f"{cell} pixels; use a smaller --hog_cell or "
                "--hog_block"
            )
        if grid > self._side:
            raise InputError(
                f"--hog_grid={grid}: more cells a side than the {self._side} blocks of an image of "
                f"{image_size} pixels"
            )
        self._descriptor = dict(
            orientations=orientations, pixels_per_cell=cell, cells_per_block=block
        )
        self._settings = dict(
            hog_orientations=orientations,
            hog_cell=cell,
            hog_block=block,
            hog_words=words,
            image_size=image_size,
        )
        self._words, self._grid, self._image_size, self._seed, self._sample_images = (
            words,
            grid,
            image_size,
            seed,
            sample_images,
        )
        self._codebook_dir = codebook_dir
        self._codebook = codebook_of(codebook_dir, self._settings) if codebook_dir else None
        self.dim = grid * grid * words

    def describe(self) -> dict:
        """Returns what the manifest says of the features: `extractor` with its parameters; the
        codebook is its only trained part.
        """
        digest = self._codebook.fingerprint()
        return dict(
            extractor=dict(name="hog", hog_grid=self._grid, codebook=digest, **self._settings),
            backbone_fingerprint=digest,
        )

    def inputs(self) -> dict[str, str]:
        """Returns flag name -> path of what is read besides the images: the other extraction."""
        return dict(codebook=str(self._codebook_dir)) if self._codebook_dir else {}

    def prepare(self, data_dir, split: str, directory, should_stop=None):
        """Learns the codebook on these images into `directory`, unless it is there or was given."""
        self._codebook = self._codebook or hog_codebook.learn(
            self._descriptors,
            data_dir,
            split,
            directory,
            settings=self._settings,
            num_words=self._words,
            sample_images=self._sample_images,
            seed=self._seed,
            should_stop=should_stop,
        )

    def batches(self, data_dir, split: str, shards: list[int]):
        """Yields (index [n] int64, features [n, D] float32) for the images of the shards, in order;
        each core works on its own.
        """
        batch_size = max(_BLOCK_PIXELS // self._image_size**2, 1)
        images = pipeline.evaluation_images(
            data_dir, split, image_size=self._image_size, batch_size=batch_size, shards=shards
        )

        @tf.autograph.experimental.do_not_convert
        def counted(batch):
            return batch["index"], self._count(batch["image"])

        cores = machine.num_cores()
        yield from (
            images.map(counted, num_parallel_calls=cores, deterministic=True)
            .prefetch(cores)
            .as_numpy_iterator()
        )

    def _descriptors(self, images):
        """Returns the descriptors [B, P, d] float32 of images [B, S, S, 3] uint8, by row."""
        blocks = hog_blocks(images, **self._descriptor)
        return tf.reshape(blocks, [-1, self._side**2, blocks.shape[-1]])

    def _count(self, images):
        """Returns the histograms [B, G * G * V] float32 of images [B, S, S, 3] uint8."""
        descriptors = self._descriptors(images)
        words = self._codebook.words
        # The nearest word has the least |w|^2 - 2 x.w.
        products = tf.matmul(
            tf.reshape(descriptors, [-1, words.shape[1]]), -2 * words, transpose_b=True
        )
        nearest = tf.argmin(products + np.square(words).sum(axis=1), axis=-1, output_type=tf.int32)
        place = np.arange(self._side) * self._grid // self._side
        first = (place[:, None] * self._grid + place).reshape(-1).astype(np.int32) * self._words
        counts = tf.math.bincount(
            first + tf.reshape(nearest, [-1, self._side**2]),
            minlength=self.dim,
            maxlength=self.dim,
            axis=-1,
        )
        return tf.cast(counts, tf.float32) / self._side**2


def codebook_of(directory, settings: dict) -> hog_codebook.Codebook:
    """Returns the codebook of a finished extraction.

    Raises:
      InputError: the extraction is of another kind, or of other settings.
      CorruptArtifactError: it has not finished, or the codebook is not the one it was made with.
    """
    extractor = Manifest.read(directory, "features", check_shards=False).info.get("extractor", {})
    path = pathlib.Path(directory) / hog_codebook.CODEBOOK_NAME
    if not path.is_file():
        raise InputError(
            f"--codebook={directory}: holds no {path.name}; name the workdir of the "
            "--extractor=hog run that learnt it"
        )
    codebook = hog_codebook.Codebook.load(path, settings)
    if extractor.get("codebook") != codebook.fingerprint():
        raise CorruptArtifactError(
            f"{path}: not the codebook that the features beside it were made with; extract them "
            "again"
        )
    return codebook

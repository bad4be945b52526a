"""Bag of words of HOG: CC+HOG in Table 3 of the paper.

Descriptors of local gradients are counted by the visual word that each is nearest to. The paper
gives neither cell nor codebook nor pooling. Ours: blocks of 2x2 cells of 8 pixels with 9
orientations (Dalal and Triggs), one at every cell; k-means words; counts divided by their sum
(experiments/PROTOCOLS.md, "HOG").
"""

import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_batches
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features import hog_codebook
from ccssl_tf.ops.hog_blocks import MAX_ORIENTATIONS, hog_blocks, num_blocks
from ccssl_tf.runs import machine
from ccssl_tf.runs.errors import CorruptArtifactError, FlagError, InputError
from ccssl_tf.runs.settings import SeedSettings, setting, whole_or_fields
from ccssl_tf.task import Extractor, ImageSettings

# Pixels worked on at a time by each core: enough to hide the calls, little enough for the cache.
_BLOCK_PIXELS = 2**18


@dataclasses.dataclass(frozen=True, kw_only=True)
class HogSettings(ImageSettings, SeedSettings):
    """--extractor=hog."""

    hog_orientations: int = setting(
        9, "Bins over 180 degrees (9: Dalal and Triggs).", minimum=1, maximum=MAX_ORIENTATIONS
    )
    hog_cell: int = setting(
        8,
        "Side of a HOG cell (8: Dalal and Triggs; 4 for images of 64 pixels).",
        unit="pixels",
        minimum=1,
        maximum=4096,
    )
    hog_block: int = setting(
        2,
        "Side of a block: a block is one descriptor (2: Dalal and Triggs).",
        unit="cells",
        minimum=1,
        maximum=256,
    )
    hog_words: int = setting(1000, "Visual words in the codebook.", minimum=1, maximum=1_000_000)
    hog_grid: int = setting(
        1,
        "Cells a side of the grid with a histogram of its own for each; 1: one for the whole "
        "image.",
        minimum=1,
        maximum=256,
    )
    hog_sample_images: int = setting(
        5000,
        f"Images the codebook is learnt from, {hog_codebook.POSITIONS_PER_IMAGE} descriptors of "
        "each.",
        minimum=1,
        maximum=10_000_000,
    )
    codebook: str | None = setting(
        None,
        "Workdir of a finished extraction with --extractor=hog whose codebook is used: for the "
        "other splits. None: learn one.",
    )

    @property
    def blocks(self) -> int:
        """Blocks, positions of a descriptor, along a side of the image; less than 1 for none."""
        return num_blocks(self.image_size, self.hog_cell, self.hog_block)

    def check(self):
        """A block fits into the image, and a position into every cell of the grid."""
        super().check()
        if self.blocks < 1:
            raise FlagError(
                f"--image_size={self.image_size}: smaller than a block of "
                f"{self.hog_block}x{self.hog_block} cells of {self.hog_cell} pixels; use a smaller "
                "--hog_cell or --hog_block"
            )
        if self.hog_grid > self.blocks:
            raise FlagError(
                f"--hog_grid={self.hog_grid}: more cells a side than the {self.blocks} blocks of "
                f"an image of {self.image_size} pixels"
            )


class HogExtractor(Extractor):
    """Histogram of the visual words of an image, by cells of a grid; its sum is 1.

    >>> HogExtractor(hog_words=100, hog_grid=2, image_size=64).dim
    400
    """

    Settings = HogSettings

    def __init__(self, settings: HogSettings | None = None, **fields):
        """Reads the codebook if one is given; else `prepare` learns one.

        Args:
          settings: or its fields by name.

        Raises:
          InputError: a codebook of other settings.
          CorruptArtifactError: see `codebook_of`.
        """
        settings = self.settings = whole_or_fields(HogSettings, settings, fields)
        # What descriptors and words are made by; the names are part of codebooks and manifests.
        self._made_by = dict(
            hog_orientations=settings.hog_orientations,
            hog_cell=settings.hog_cell,
            hog_block=settings.hog_block,
            hog_words=settings.hog_words,
            image_size=settings.image_size,
        )
        self._learnt = codebook_of(settings.codebook, self._made_by) if settings.codebook else None
        self.dim = settings.hog_grid**2 * settings.hog_words

    def describe(self) -> dict:
        """Returns `extractor` with its parameters; the codebook is what it has of a backbone."""
        digest = self._codebook.fingerprint()
        return dict(
            extractor=dict(
                name="hog", hog_grid=self.settings.hog_grid, codebook=digest, **self._made_by
            ),
            backbone_fingerprint=digest,
        )

    def inputs(self) -> dict[str, str]:
        """Returns flag -> path of what is read besides the images: the other extraction."""
        return dict(codebook=self.settings.codebook) if self.settings.codebook else {}

    def prepare(self, data_dir, split: str, directory, should_stop=None) -> None:
        """Learns the codebook on these images into `directory`, unless it is there or was given."""
        if self.settings.codebook:
            return
        self._learnt = hog_codebook.learn(
            self._descriptors,
            data_dir,
            split,
            directory,
            settings=self._made_by,
            num_words=self.settings.hog_words,
            sample_images=self.settings.hog_sample_images,
            seed=self.settings.seed,
            should_stop=should_stop,
        )

    @property
    def _codebook(self):
        if self._learnt is None:
            raise RuntimeError("`prepare` has not learnt a codebook yet")
        return self._learnt

    def batches(
        self, data_dir, split: str, shards: list[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the rows of the images of the shards, in order; each core has its own batch."""
        image_size = self.settings.image_size
        batch_size = max(_BLOCK_PIXELS // image_size**2, 1)
        images = image_batches.evaluation_images(
            data_dir, split, image_size=image_size, batch_size=batch_size, shards=shards
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
        blocks = hog_blocks(
            images,
            orientations=self.settings.hog_orientations,
            pixels_per_cell=self.settings.hog_cell,
            cells_per_block=self.settings.hog_block,
        )
        return tf.reshape(blocks, [-1, self.settings.blocks**2, blocks.shape[-1]])

    def _count(self, images):
        """Returns the histograms [B, G * G * V] float32 of images [B, S, S, 3] uint8."""
        descriptors = self._descriptors(images)
        side, grid = self.settings.blocks, self.settings.hog_grid
        words = self._codebook.words
        # The nearest word has the least |w|^2 - 2 x.w.
        products = tf.matmul(
            tf.reshape(descriptors, [-1, words.shape[1]]), -2 * words, transpose_b=True
        )
        nearest = tf.argmin(products + np.square(words).sum(axis=1), axis=-1, output_type=tf.int32)
        place = np.arange(side) * grid // side
        first = (place[:, None] * grid + place).reshape(-1).astype(np.int32) * len(words)
        counts = tf.math.bincount(
            first + tf.reshape(nearest, [-1, side**2]),
            minlength=self.dim,
            maxlength=self.dim,
            axis=-1,
        )
        return tf.cast(counts, tf.float32) / side**2


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

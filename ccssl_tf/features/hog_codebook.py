"""The visual words of a bag of words: centroids of descriptors of a sample, in one file."""

import dataclasses
import hashlib
import json
import pathlib

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering import KMeans
from ccssl_tf.data import image_ops, pipeline
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.data.numpy_files import ArrayArchive
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.runs.damage import told_as_damage
from ccssl_tf.runs.errors import CorruptArtifactError, InputError, Interrupted
from ccssl_tf.runs.files import atomic_file, fingerprint_of
from ccssl_tf.runs.progress import Progress

CODEBOOK_NAME = "codebook.npz"
POSITIONS_PER_IMAGE = 40
_SAMPLE_BATCH = 20
# The last passes, a tenth of the inertia's last percent, would be most of the time.
_MAX_ITERATIONS, _TOLERANCE = 50, 1e-3


@dataclasses.dataclass(frozen=True)
class Codebook:
    """Visual words.

    Attributes:
      words: [V, d] float32.
      settings: what descriptors are made by: another extraction must have the same.
      source: which images, how many of them and what seed the words were learnt from.
    """

    words: np.ndarray
    settings: dict
    source: dict

    def fingerprint(self) -> str:
        """Returns a digest of words and settings."""
        return fingerprint_of(
            [self.settings, hashlib.sha256(self.words.astype("<f4").tobytes()).hexdigest()]
        )

    def save(self, path):
        """Writes `path`, wholly or not at all."""
        facts = np.array(
            json.dumps(dict(settings=self.settings, source=self.source), sort_keys=True)
        )
        with atomic_file(path) as temporary:
            np.savez(temporary, words=self.words, facts=facts)

    @classmethod
    def load(cls, path, settings: dict) -> "Codebook":
        """Reads a codebook.

        Args:
          path: the file.
          settings: what its descriptors must have been made by.

        Raises:
          InputError: other settings; the message names them.
          CorruptArtifactError: not such a file.
        """
        what, advice = "not a codebook", "extract again without it"
        with told_as_damage(path, what, advice):
            with ArrayArchive(path, what=what, advice=advice) as saved:
                words, facts = saved["words"], json.loads(str(saved["facts"]))
            codebook = cls(words, facts["settings"], facts["source"])
            whole = (
                words.dtype == np.float32
                and words.ndim == 2
                and np.isfinite(words).all()
                and isinstance(codebook.settings, dict)
            )
        if not whole:
            raise CorruptArtifactError(
                f"{path}: {what} (words of {words.dtype} {list(words.shape)}); {advice}"
            )
        other = [name for name in settings if codebook.settings.get(name) != settings[name]]
        if other:
            theirs = ", ".join(f"--{name}={codebook.settings.get(name)}" for name in other)
            ours = ", ".join(f"--{name}={settings[name]}" for name in other)
            raise InputError(
                f"{path}: a codebook of other settings, {theirs} instead of {ours}; give the same "
                "or learn another"
            )
        return codebook


def learn(
    describe,
    data_dir,
    split: str,
    directory,
    *,
    settings: dict,
    num_words: int,
    sample_images: int,
    seed: int,
    should_stop=None,
):
    """Returns the codebook in `directory`; learns and writes it first if there is none.

    The sample is the first images of the training order of epoch 0, a pure function of the seed,
    and 40 random positions of each: so a million images are not read for it. A killed k-means
    continues at the pass it was in.

    Args:
      describe: images [B, S, S, 3] uint8 -> descriptors [B, P, d] float32, in a graph.
      data_dir, split: the images.
      directory: where `codebook.npz` lies or will.
      settings: what descriptors are made by; `image_size` is S.
      num_words: V.
      sample_images: about how many images; all of a smaller split.
      seed: of sample and k-means.
      should_stop: asked between batches and inside k-means; True ends the work with Interrupted.

    Raises:
      InputError: fewer descriptors than words; the file there is of other images or settings.
    """
    path = pathlib.Path(directory) / CODEBOOK_NAME
    images = Manifest.read(data_dir, "images")
    source = dict(
        images_fingerprint=images.fingerprint(split), sample_images=sample_images, seed=seed
    )
    if path.is_file():
        codebook = Codebook.load(path, settings)
        if codebook.source != source:
            raise InputError(
                f"{path}: was learnt from other images or another sample; name another --workdir"
            )
        return codebook
    count = min(sample_images, images.num_examples(split))
    descriptors = _sample(
        describe, data_dir, split, count, settings["image_size"], seed, should_stop
    )
    if len(descriptors) < num_words:
        raise InputError(
            f"--hog_words={num_words}: more words than the {len(descriptors)} descriptors of the "
            "sample; use fewer or a larger "
            "--hog_sample_images"
        )
    print(
        f"hog codebook  {num_words} words of {len(descriptors)} descriptors of "
        f"{descriptors.shape[1]} numbers",
        flush=True,
    )
    checkpoint = path.with_name("codebook_checkpoint.npz")
    kmeans = KMeans(
        num_words, max_iterations=_MAX_ITERATIONS, tolerance=_TOLERANCE, seed=seed, verbose=True
    )
    kmeans.fit(descriptors, checkpoint_path=checkpoint, should_stop=should_stop)
    Codebook(kmeans.centroids, settings, source).save(path)
    for leftover in path.parent.glob(f"{checkpoint.name}*"):
        leftover.unlink()
    return Codebook.load(path, settings)


def _sample(describe, data_dir, split, count, image_size, seed, should_stop):
    """Returns descriptors [n, d] float32 of `count` images, fewer by the remainder of a batch."""
    batch_size = min(_SAMPLE_BATCH, count)

    def load(parsed):
        descriptors = describe(image_ops.whole_image(parsed["encoded"], image_size)[None])[0]
        order = tf.argsort(
            tf.random.stateless_uniform([descriptors.shape[0]], parsed["seed"]), stable=True
        )
        return dict(descriptors=tf.gather(descriptors, order[:POSITIONS_PER_IMAGE]))

    batches = pipeline.training_batches(data_dir, split, Epoch(batch_size, seed=seed), load=load)
    descriptors, progress = [], Progress("hog codebook", count, "images")
    for batch in batches.take(count // batch_size):
        if should_stop and should_stop():
            raise Interrupted("interrupted; the same command starts with the codebook again")
        descriptors.append(batch["descriptors"].numpy())
        progress.update(len(descriptors) * batch_size)
    return np.concatenate(descriptors).reshape(-1, descriptors[0].shape[-1])

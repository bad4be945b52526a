"""Photos that say how large the numbers of each layer are, chosen by a seed."""

import numpy as np

from ccssl_tf.data import image_ops
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.data.pipeline import Epoch, training_batches
from ccssl_tf.runs.errors import InputError

NUM_IMAGES = 200
_SPLITS = ("train", "trainval")


def calibration_images(data_dir, image_size: int, seed: int) -> np.ndarray:
    """Returns central crops of up to NUM_IMAGES images of a data set.

    They are the first of the training order of `seed` in which every window is one shard (shards
    are random samples of their set), so that few shards are read.

    Args:
      data_dir: image shards; of their splits train, trainval, or else the first.
      image_size: S.
      seed: of the choice.

    Returns:
      [N, S, S, 3] uint8.

    Raises:
      InputError: no image shards there, or none with an image.
    """
    splits = Manifest.read(data_dir, "images").splits
    split = next((name for name in (*_SPLITS, *splits) if name in splits), None)
    if split is None:
        raise InputError(f"--calibration_data_dir={data_dir}: has no split; name another data set")

    def load(parsed):
        return dict(image=image_ops.evaluation_crop(parsed["encoded"], image_size))

    batches = training_batches(
        data_dir, split, Epoch(batch_size=1, seed=seed), load=load, window_bytes=0
    )
    images = [batch["image"][0].numpy() for batch in batches.take(NUM_IMAGES)]
    return np.stack(images)

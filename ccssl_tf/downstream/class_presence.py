"""Which classes are in a photo, as VOC says it of each class: 1 there, -1 not there, 0 there as
difficult objects only, which counts neither way.
"""

import tensorflow as tf

from ccssl_tf.data import records, voc_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import InputError


def presence_classes(data_dir, splits) -> list[str]:
    """Returns the names of the classes.

    Args:
      data_dir: image shards with `image/class/presence`.
      splits: splits that are needed; the first photo of each is looked at.

    Raises:
      InputError: no such split, an empty one, no presence of classes, or of another number of
        classes than the data set names.
    """
    manifest = Manifest.read(data_dir, "images")
    names = manifest.info.get("class_names") or []
    for split in splits:
        if split not in manifest.splits:
            raise InputError(f"{data_dir}: no split {split}, but {', '.join(manifest.splits)}")
        path = next((shard.name for shard in manifest.shards(split) if shard.num_examples), None)
        if path is None:
            raise InputError(f"{data_dir}: split {split} is empty")
        presence = voc_records.parse_voc_image(next(records.read_shard(f"{data_dir}/{path}")))[
            "presence"
        ]
        if not len(presence):
            raise InputError(
                f"{data_dir}: split {split} does not say which classes are in a photo; convert it "
                "with python -m data_prep.voc"
            )
        if len(presence) != len(names):
            raise InputError(
                f"{data_dir}: split {split} tells of {len(presence)} classes, the data set names "
                f"{len(names)}; convert it again"
            )
    return names


def checked_presence(parsed, data_dir, split: str, num_classes: int):
    """Returns the presence of a photo, [num_classes] int64, in a graph that ends with an InputError
    where it is of another number of classes or is not 1, 0 or -1.

    Args:
      parsed: of `voc_records.parse_voc_image`.
      data_dir, split, num_classes: for the message, see `records.required`.
    """
    presence, where = parsed["presence"], f"{data_dir}: split {split}"
    size, message = (
        tf.size(presence),
        f"tells of {{}} classes instead of {num_classes}; convert it again",
    )
    presence = records.required(presence, size == num_classes, where, parsed, message, size)
    is_known = tf.reduce_all(tf.abs(presence) <= 1)
    message = "has class states {}, which must be 1, 0 or -1; convert it again"
    presence = records.required(presence, is_known, where, parsed, message, presence)
    return tf.ensure_shape(presence, [num_classes])


def presence_loss(logits, presence):
    """Returns the sum over classes of the sigmoid cross-entropy, [B] float32.

    Args:
      logits: [B, C] float32.
      presence: [B, C] int, 1 there, -1 not, 0 ignored.
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(presence > 0, tf.float32), logits=logits
    )
    return tf.reduce_sum(tf.where(presence == 0, 0.0, losses), axis=1)

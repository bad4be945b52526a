"""Networks over several tiles of an image.

One shared column sees each tile, a head the features of those shown, in their order.
"""

import keras
import tensorflow as tf

from ccssl_tf.layers.per_example_dropout import PerExampleDropout, per_example_seeds
from ccssl_tf.models.backbone import batch_normalization
from ccssl_tf.runs.errors import InputError


def is_normalized(backbone) -> bool:
    """Whether the backbone has batch normalisation; its fully connected layers then have it too."""
    return backbone.architecture().get("normalization") == "batch_norm"


class SiameseModel(keras.Model):
    """A network in two parts, `column` and `head`.

    The column maps one tile to fc6 features, the head features of several tiles to logits.
    """

    def __init__(
        self, backbone, *, tile_size, num_tiles, tile_units, head_units, num_classes, with_norm
    ):
        """Builds column and head.

        Args:
          backbone: shared by all tiles.
          tile_size: t, pixels.
          num_tiles: S, tiles the head sees at a time.
          tile_units: F, units of fc6, on each tile.
          head_units: units of fc7, and of fc8 where there are two, over all S tiles.
          num_classes: size of the logits.
          with_norm: He initialisation, and batch normalisation of fc6 and fc7; without it
            CaffeNet's initialisation and dropout.

        Raises:
          InputError: the backbone's last map would be empty.
        """
        super().__init__()
        self.backbone = backbone

        def block(x, units, number):
            name, normalized = f"fc{number}", with_norm and number < 8
            x = keras.layers.Dense(
                units,
                use_bias=not normalized,
                kernel_initializer="he_normal"
                if with_norm
                else keras.initializers.RandomNormal(stddev=0.005),
                bias_initializer="zeros" if with_norm else "ones",
                name=name,
            )(x)
            x = batch_normalization(f"{name}_norm")(x) if normalized else x
            x = keras.layers.ReLU(name=f"{name}_relu")(x)
            return (
                x
                if with_norm
                else PerExampleDropout(0.5, stream=1100 + number, name=f"{name}_dropout")(x)
            )

        tile = keras.Input([tile_size, tile_size, 3], name="tile")
        endpoints = backbone(tile)
        last = (
            endpoints["pool5"] if "pool5" in endpoints else endpoints[backbone.endpoint_names[-1]]
        )
        if 0 in last.shape[1:3]:
            advice = "use a smaller --conv1_stride or a larger --image_size"
            raise InputError(
                f"{backbone.name}: nothing is left of {tile_size}-pixel tiles; {advice}"
            )
        self.column = keras.Model(
            tile, block(keras.layers.Flatten()(last), tile_units, 6), name="column"
        )
        shown = keras.Input([num_tiles * tile_units], name="tile_features")
        # Made before the head's other layers: first weights follow the order in which layers are
        # made.
        initializer = keras.initializers.RandomNormal(stddev=0.01)
        logits = keras.layers.Dense(
            num_classes, kernel_initializer=initializer, dtype="float32", name="logits"
        )
        x = shown
        for number, units in enumerate(head_units, 7):
            x = block(x, units, number)
        self.head = keras.Model(shown, logits(x), name="head")
        self.built = True

    def tile_features(self, tiles, training):
        """Maps tiles [B, T, t, t, 3] to features [B, T, F].

        The column runs once over all B * T tiles.
        """
        flat = tf.reshape(tiles, [-1, *tiles.shape[2:]])
        return tf.reshape(
            self.column(flat, training=training), [-1, tiles.shape[1], self.column.output.shape[-1]]
        )

    def call(self, tiles, training=False):
        """Logits [B, P] for tiles [B, S, t, t, 3] in the order shown."""
        features = self.tile_features(tiles, training)
        return self.head(
            tf.reshape(features, [-1, features.shape[1] * features.shape[2]]), training=training
        )


def shown_features(features, order):
    """Maps tile features [B, T, F] and orders [B, M, S] to [B * M, S * F].

    Slot s of an order shows tile order[s].
    """
    # A product with a 0/1 matrix, not a gather: its gradient is the same on every run and device.
    shown = tf.einsum(
        "bmst,btf->bmsf", tf.one_hot(order, features.shape[1], dtype=features.dtype), features
    )
    return tf.reshape(shown, [-1, order.shape[-1] * features.shape[-1]])


def classification_loss(model, tiles, order, labels, seed, training):
    """Shows each image's tiles in M orders and asks for their classes.

    Tile features are computed once.

    Args:
      model: a SiameseModel.
      tiles: [B, T, t, t, 3] float32.
      order: [B, M, S] int32, the tile in each slot.
      labels: [B, M] int32, the class of each order.
      seed: [B, 2] int64, of dropout.
      training: whether batch statistics and dropout are used.

    Returns:
      (cross-entropy [B] float32, dict(accuracy=[B] float32)), both means over an image's M orders.
    """
    with per_example_seeds(seed):
        features = model.tile_features(tiles, training)
        logits = model.head(shown_features(features, order), training=training)
    per_image, labels = [-1, labels.shape[-1]], tf.reshape(labels, [-1])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))
    right = tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), labels), tf.float32)
    return tf.reduce_mean(tf.reshape(losses, per_image), 1), dict(
        accuracy=tf.reduce_mean(tf.reshape(right, per_image), 1)
    )


def answers(model, tiles, order):
    """Returns the classes [B, M] int that the model takes orders of tiles for.

    The orders are [B, M, S], the tiles [B, T, t, t, 3].
    """
    logits = model.head(shown_features(model.tile_features(tiles, False), order), training=False)
    return tf.reshape(tf.argmax(logits, -1), tf.shape(order)[:2])

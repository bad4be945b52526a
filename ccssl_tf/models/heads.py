"""Heads: what a task puts on top of a backbone."""

import keras

from ccssl_tf.layers.grid_pooling import grid_pool

# Small networks have no fully connected layers: their last map is pooled to this grid instead.
SMALL_HEAD_GRID = 2


def head_features(backbone, endpoints):
    """Returns what the classes sit on, [B, F].

    That is fc7 or avg_pool where the backbone has it, else its last map, max-pooled to 2x2.
    """
    for name in ("fc7", "avg_pool"):
        if name in endpoints:
            return endpoints[name]
    return keras.layers.Flatten(name="pooled")(
        grid_pool(endpoints[backbone.endpoint_names[-1]], SMALL_HEAD_GRID)
    )


def build_classifier(backbone, num_classes: int, image_size: int) -> keras.Model:
    """Returns a Functional model from images to `logits`, with `.backbone`.

    Images are [B, S, S, 3], `logits` [B, num_classes] float32.
    """
    images = keras.Input([image_size, image_size, 3], name="images")
    endpoints = backbone(images)
    features = head_features(backbone, endpoints)
    initializer = keras.initializers.RandomNormal(stddev=0.01)
    logits = keras.layers.Dense(
        num_classes, kernel_initializer=initializer, dtype="float32", name="logits"
    )(features)
    model = keras.Model(images, dict(logits=logits), name="classifier")
    model.backbone = backbone
    return model

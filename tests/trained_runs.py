"""Run directories as a finished training leaves them, of tiny networks."""

import json

import keras
import numpy as np

from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone_file import save_backbone, save_model
from ccssl_tf.models.heads import build_classifier

SIZE = 32
_SMALL = dict(
    stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=(), image_size=SIZE
)


def make_run(path, *, classes=None, data_dir=None, backbone=None, image_size=SIZE, **arguments):
    """Writes what a finished training leaves; returns (backbone, classifier or None).

    Args:
      path: directory to be made.
      classes: of a classifier on the backbone.
      data_dir: image shards that the run is said to have seen.
      backbone: another than a small AlexNet of `image_size` and `arguments`.
    """
    path.mkdir()
    keras.utils.set_random_seed(1)
    if backbone is None:
        backbone = AlexNet(**(_SMALL | dict(image_size=image_size) | arguments))
    random = np.random.default_rng(9)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(
                [random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()]
            )
    classifier = build_classifier(backbone, classes, image_size) if classes else None
    save_backbone(backbone, path)
    if classifier:
        save_model(classifier, path / "classifier.keras")
    (path / "flags.txt").write_text(f"--image_size={image_size}\n")
    inputs = dict(data_dir=dict(path=str(data_dir), fingerprint="")) if data_dir else {}
    (path / "run.json").write_text(json.dumps(dict(command=["ccssl_tf.train"], inputs=inputs)))
    (path / "DONE").write_text("{}")
    return backbone, classifier

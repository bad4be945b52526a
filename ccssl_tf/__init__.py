"""Boosting self-supervised learning by knowledge transfer (Noroozi et al., CVPR 2018).

TensorFlow 2 and Keras 3. What a notebook needs is here, by name; each is imported when it is first
asked for, so that importing the package takes no time:

    >>> import ccssl_tf
    >>> ccssl_tf.Rotation.__name__
    'Rotation'

`python -m ccssl_tf.train`, `.extract`, `.cluster`, `.export`, `.report` and `.pipeline` are the
commands; nobody imports them.
"""

import importlib
import sys
import types

__version__ = "0.2.0"

_TASKS = dict(
    pretext=(
        "colorization.Colorization",
        "context.Context",
        "context_encoder.ContextEncoder",
        "counting.Counting",
        "jigsaw.Jigsaw",
        "jigsaw_pp.JigsawPP",
        "rotation.Rotation",
        "split_brain.SplitBrain",
        "supervised.Supervised",
    ),
    knowledge_transfer=(
        "attention_transfer.AttentionTransfer",
        "cluster_classification.ClusterClassification",
        "feature_regression.FeatureRegression",
        "logits_distillation.LogitsDistillation",
    ),
    downstream=(
        "fast_rcnn.FastRCNN",
        "fcn.FCN",
        "linear_probe.LinearProbe",
        "nonlinear_probe.NonlinearProbe",
        "voc07_classification.Voc07Classification",
    ),
)
_OTHERS = dict(
    data=(
        "feature_directory.read_features",
        "manifest.Manifest",
        "pipeline.Epoch",
        "proposal_records.read_proposals",
    ),
    clustering=("KMeans", "MiniBatchKMeans", "read_pseudo_labels", "write_pseudo_labels"),
    downstream=("exporting.export",),
    features=("extract_features", "endpoint.EndpointExtractor", "hog.HogExtractor"),
    metrics=("average_precision", "detection_average_precision"),
    models=("AlexNet", "VGG16", "Application", "load_backbone", "save_backbone"),
    task=("Extractor", "Result", "Task"),
    training=("LoopSettings", "OptimizerSettings", "train"),
)
# Public name -> where it is defined.
_HOMES = {
    name.rpartition(".")[2]: f"{__name__}.{room}.{name}"
    for table in (_TASKS, _OTHERS)
    for room, names in table.items()
    for name in names
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].rpartition(".")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__():
    return __all__


class _Package(types.ModuleType):
    """The package: `train` and `export` are its functions also after the import of the commands of
    the same names, which Python would otherwise put in their place.
    """

    def __setattr__(self, name, value):
        if not (name in _HOMES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

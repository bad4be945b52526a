"""The table of contents of the system: every backbone, extractor and task, by the name its flag takes."""

from ccssl_tf.downstream.linear_probe import LinearProbe
from ccssl_tf.errors import InputError
from ccssl_tf.features.endpoint import EndpointExtractor
from ccssl_tf.knowledge_transfer.cluster_classification import ClusterClassification
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.pretext.jigsaw_pp import JigsawPP

BACKBONES = {
    "alexnet": AlexNet,
    "vgg16": VGG16,
}

EXTRACTORS = {
    "endpoint": EndpointExtractor,
}

TASKS = {
    "jigsaw_pp": JigsawPP,
    "cluster_classification": ClusterClassification,
    "linear_probe": LinearProbe,
}


def lookup(table: dict, name: str, flag: str):
    """Returns table[name]; raises InputError that names the flag and the choices."""
    if name not in table:
        raise InputError(f"--{flag}={name}: unknown; there are {', '.join(sorted(table))}")
    return table[name]

"""The table of contents of the system: every backbone, extractor and task, by its flag's name.

Besides the backbones listed here, `--backbone` takes any name of keras.applications, and
`--init_backbone` any Keras model.
"""

from ccssl_tf.downstream.fast_rcnn import FastRCNN
from ccssl_tf.downstream.fcn import FCN
from ccssl_tf.downstream.linear_probe import LinearProbe
from ccssl_tf.downstream.nonlinear_probe import NonlinearProbe
from ccssl_tf.downstream.voc07_classification import Voc07Classification
from ccssl_tf.features.endpoint import EndpointExtractor
from ccssl_tf.features.external import ExternalExtractor
from ccssl_tf.features.hog import HogExtractor
from ccssl_tf.knowledge_transfer.attention_transfer import AttentionTransfer
from ccssl_tf.knowledge_transfer.cluster_classification import ClusterClassification
from ccssl_tf.knowledge_transfer.feature_regression import FeatureRegression
from ccssl_tf.knowledge_transfer.logits_distillation import LogitsDistillation
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.pretext.colorization import Colorization
from ccssl_tf.pretext.context import Context
from ccssl_tf.pretext.context_encoder import ContextEncoder
from ccssl_tf.pretext.counting import Counting
from ccssl_tf.pretext.jigsaw import Jigsaw
from ccssl_tf.pretext.jigsaw_pp import JigsawPP
from ccssl_tf.pretext.rotation import Rotation
from ccssl_tf.pretext.split_brain import SplitBrain
from ccssl_tf.pretext.supervised import Supervised

# The first one is that of a run that names none.
BACKBONES = {
    "alexnet": AlexNet,
    "vgg16": VGG16,
}

EXTRACTORS = {
    "endpoint": EndpointExtractor,
    "external": ExternalExtractor,
    "hog": HogExtractor,
}

# Tasks that train a backbone on images by themselves; attention_transfer is added to one of them.
BASE_TASKS = {
    "jigsaw": Jigsaw,
    "jigsaw_pp": JigsawPP,
    "context": Context,
    "rotation": Rotation,
    "counting": Counting,
    "supervised": Supervised,
    "colorization": Colorization,
    "split_brain": SplitBrain,
    "context_encoder": ContextEncoder,
    "cluster_classification": ClusterClassification,
    "feature_regression": FeatureRegression,
    "logits_distillation": LogitsDistillation,
}

EVALUATIONS = {
    "linear_probe": LinearProbe,
    "nonlinear_probe": NonlinearProbe,
    "voc07_classification": Voc07Classification,
    "fcn": FCN,
    "fast_rcnn": FastRCNN,
}

TASKS = {**BASE_TASKS, "attention_transfer": AttentionTransfer, **EVALUATIONS}

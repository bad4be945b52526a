"""The table of contents of the system: every backbone, extractor and task, by the name its flag
takes.

Besides the backbones listed here, `--backbone` takes any name of keras.applications, and
`--init_backbone` any Keras model.
"""

import pathlib

from absl import flags

from ccssl_tf import network_flags
from ccssl_tf.data import SMALL_IMAGE_SIZE
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
from ccssl_tf.models import application_weights, applications, importers
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone import WIDTH_MULTIPLIER, copy_convolutions
from ccssl_tf.models.folding import fold_batch_normalization
from ccssl_tf.models.input_convention import InputConvention
from ccssl_tf.models.keras_network import KerasNetwork, load_network
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
from ccssl_tf.runs.errors import InputError

BACKBONES = {
    "alexnet": AlexNet,
    "vgg16": VGG16,
}

EXTRACTORS = {
    "endpoint": EndpointExtractor,
    "external": ExternalExtractor,
    "hog": HogExtractor,
}

EVALUATIONS = {
    "linear_probe": LinearProbe,
    "nonlinear_probe": NonlinearProbe,
    "voc07_classification": Voc07Classification,
    "fcn": FCN,
    "fast_rcnn": FastRCNN,
}

TASKS = {
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
    "attention_transfer": AttentionTransfer,
    "logits_distillation": LogitsDistillation,
    **EVALUATIONS,
}
# Any that trains a backbone may be the base task of attention transfer; evaluations have images and
# batches of their own.
AttentionTransfer.base_tasks = {
    name: task for name, task in TASKS.items() if name not in EVALUATIONS
}

# What --backbone is called where --init_backbone is somebody else's Keras model: a flags.txt that
# says so starts the same network again.
_KERAS = "keras"

# Flags that describe the kernels of a network -> the constructor's argument; and arguments that do
# not touch the kernels.
_ARCHITECTURE_FLAGS = {
    "width_multiplier": "width_multiplier",
    "normalization": "normalization",
    "alexnet_order": "order",
}
_FREE_ARGUMENTS = (
    "conv1_stride",
    "is_padded",
    "image_size",
    "fc_units",
    "dropout_rate",
    "avg_pool",
)


def lookup(table: dict, name: str, flag: str):
    """Returns table[name]; raises InputError that names the flag and the choices."""
    if name not in table:
        raise InputError(f"--{flag}={name}: unknown; there are {', '.join(sorted(table))}")
    return table[name]


def backbone_kind(name: str) -> tuple[type, dict]:
    """Returns the class of the backbone called `name`, and the arguments of its `from_flags` that
    say which network it is.

    Raises:
      InputError: neither one of ours nor of keras.applications; the message says which there are.
    """
    if name in BACKBONES:
        return BACKBONES[name], {}
    if name == _KERAS:
        raise InputError(
            f"--backbone={_KERAS}: is what --init_backbone=FILE.keras holds; name that file"
        )
    if name not in applications.NETWORKS:
        similar = ", ".join(applications.similar_names(name))
        raise InputError(
            f"--backbone={name}: unknown; there are {', '.join(BACKBONES)} and those of "
            f"keras.applications, such as {similar}"
        )
    return applications.Application, dict(network=name)


def _kind_of(backbone) -> tuple[str, type, dict]:
    """Returns the name of a backbone as --backbone has it, its class, and the arguments of
    `from_flags` that say which network it is.
    """
    if isinstance(backbone, KerasNetwork):
        return _KERAS, KerasNetwork, dict(config=backbone.get_config())
    if isinstance(backbone, applications.Application):
        return backbone.network, *backbone_kind(backbone.network)
    name = next(name for name, kind in BACKBONES.items() if kind is type(backbone))
    return name, *backbone_kind(name)


def build_backbone(*, with_fc: bool = False, colors: str | None = None, keep_fc: bool = False):
    """Returns the network the flags name: that of --init_backbone, with its convolutions, or a
    random --backbone.

    An --init_backbone brings its own architecture; only what does not touch the kernels follows the
    flags: input size, stride (2 on tiles, 4 on whole images) and fully connected layers
    (`with_fc`), random ones unless `keep_fc`, and what it sees of the images where the task says so
    (`colors`, see `Task`). --normalization=none merges the batch normalisation of a file into its
    kernels.

    Raises:
      InputError: --backbone, --width_multiplier, --normalization or --alexnet_order is given and
        says otherwise than the file.
    """
    path, name = network_flags.init_backbone(), network_flags.BACKBONE.value
    options = dict(image_size=network_flags.IMAGE_SIZE.value, with_fc=with_fc, colors=colors)
    if not path:
        chosen, which = backbone_kind(name)
        return chosen.from_flags(**which, **options)
    start = _start(path, name)
    found, kind, which = _kind_of(start)
    if flags.FLAGS["backbone"].present and found != name:
        raise InputError(
            f"{path}: holds another architecture, {found}, than --backbone={name}; leave one of "
            "the flags out"
        )
    config, here = start.get_config(), kind.from_flags(**which, **options).get_config()
    for flag, argument in _ARCHITECTURE_FLAGS.items():
        if flags.FLAGS[flag].present and argument in config and config[argument] != here[argument]:
            raise InputError(
                f"{path}: another architecture, with {flag} {config[argument]}; leave "
                f"--{flag}={here[argument]} out or name another file"
            )
    # Recorded with the run: flags.txt then describes the network that ran, and is a valid flagfile
    # for it.
    flags.FLAGS.backbone = found
    for flag, argument in _ARCHITECTURE_FLAGS.items():
        if argument in config:
            setattr(flags.FLAGS, flag, config[argument])
    free = {argument: here[argument] for argument in _FREE_ARGUMENTS if argument in here}
    if keep_fc and free.get("fc_units"):
        free["fc_units"] = config["fc_units"] or free["fc_units"]
    seen = dict(colors=colors) if colors else {}
    network = kind.from_config({**config, **free, **seen})
    copy_convolutions(start, network, path, keep_fc)
    network.weights_from = start.weights_from
    return network


def _start(path, name):
    """Loads --init_backbone: ours, somebody else's Keras model, or published weights of the network
    called `name`.
    """
    normalization = flags.FLAGS["normalization"]
    if pathlib.Path(path).suffix in importers.SUFFIXES:
        chosen, which = backbone_kind(name)
        if which:
            return application_weights.import_weights(
                path, **which, width_multiplier=WIDTH_MULTIPLIER.value
            )
        # The published architecture, whatever the size of the images here: LRN in AlexNet, nothing
        # in VGG16.
        config = chosen.from_flags(image_size=SMALL_IMAGE_SIZE).get_config()
        if config["normalization"] == "batch_norm" and not normalization.present:
            config["normalization"] = "none"
        return importers.import_backbone(path, chosen, **config)
    start = load_network(path, InputConvention.from_flags())
    if (
        normalization.present
        and normalization.value == "none"
        and start.get_config().get("normalization") == "batch_norm"
    ):
        return fold_batch_normalization(start)
    return start

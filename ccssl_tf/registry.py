"""The table of contents of the system: every backbone, extractor and task, by the name its flag takes."""

from absl import flags

from ccssl_tf import network_flags
from ccssl_tf.downstream.linear_probe import LinearProbe
from ccssl_tf.errors import InputError
from ccssl_tf.features.endpoint import EndpointExtractor
from ccssl_tf.knowledge_transfer.cluster_classification import ClusterClassification
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone import copy_convolutions, load_backbone
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.pretext.context import Context
from ccssl_tf.pretext.counting import Counting
from ccssl_tf.pretext.jigsaw import Jigsaw
from ccssl_tf.pretext.jigsaw_pp import JigsawPP
from ccssl_tf.pretext.rotation import Rotation
from ccssl_tf.pretext.supervised import Supervised

BACKBONES = {
    "alexnet": AlexNet,
    "vgg16": VGG16,
}

EXTRACTORS = {
    "endpoint": EndpointExtractor,
}

TASKS = {
    "jigsaw": Jigsaw,
    "jigsaw_pp": JigsawPP,
    "context": Context,
    "rotation": Rotation,
    "counting": Counting,
    "supervised": Supervised,
    "cluster_classification": ClusterClassification,
    "linear_probe": LinearProbe,
}


def lookup(table: dict, name: str, flag: str):
    """Returns table[name]; raises InputError that names the flag and the choices."""
    if name not in table:
        raise InputError(f"--{flag}={name}: unknown; there are {', '.join(sorted(table))}")
    return table[name]


def build_backbone(*, with_fc: bool = False):
    """Returns the network the flags name: that of --init_backbone, with its convolutions, or a random --backbone.

    An --init_backbone brings its own architecture; only what does not touch the kernels follows the flags: input size, stride (2 on
    tiles, 4 on whole images) and, with random weights, fully connected layers (`with_fc`).

    Raises:
      InputError: --backbone, --width_multiplier or --normalization is given and says otherwise than the file.
    """
    path, name = network_flags.INIT_BACKBONE.value, network_flags.BACKBONE.value
    chosen = lookup(BACKBONES, name, "backbone")
    options = dict(image_size=network_flags.IMAGE_SIZE.value, with_fc=with_fc)
    if not path:
        return chosen.from_flags(**options)
    start = load_backbone(path)
    if flags.FLAGS["backbone"].present and type(start) is not chosen:
        raise InputError(f"{path}: holds another architecture, {type(start).__name__}, than --backbone={name}; leave one of the flags out")
    config, here = start.get_config(), type(start).from_flags(**options).get_config()
    for flag in ("width_multiplier", "normalization"):
        if flags.FLAGS[flag].present and config[flag] != here[flag]:
            raise InputError(
                f"{path}: another architecture, with {flag} {config[flag]}; leave --{flag}={here[flag]} out or name another file"
            )
    # Recorded with the run: flags.txt then describes the network that ran, and is a valid flagfile for it.
    flags.FLAGS.backbone = next(known for known, kind in BACKBONES.items() if kind is type(start))
    flags.FLAGS.width_multiplier, flags.FLAGS.normalization = config["width_multiplier"], config["normalization"]
    free = {argument: here[argument] for argument in ("conv1_stride", "image_size", "fc_units") if argument in here}
    network = type(start).from_config({**config, **free})
    copy_convolutions(start, network, path)
    return network

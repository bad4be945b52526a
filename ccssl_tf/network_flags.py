"""The flags of stages that run a network: which one, from where, and how images are shown to it."""

from absl import flags

INIT_BACKBONE = flags.DEFINE_string(
    "init_backbone",
    None,
    "What to start from: a training workdir or its backbone.keras, any Keras model with maps "
    "(FILE.keras, with --input_range), or "
    "published weights for --backbone (.npz of a caffemodel's arrays, .h5 of keras.applications' "
    "networks); none, or the word random: "
    "random weights.",
)
BACKBONE = flags.DEFINE_string(
    "backbone",
    "alexnet",
    "Network: alexnet, vgg16, or any of keras.applications by its name there, e.g. ResNet50.",
)
IMAGE_SIZE = flags.DEFINE_integer(
    "image_size",
    227,
    "Side of an image, pixels: 255 for jigsaw tasks, 227 otherwise in the paper; 64 for small "
    "images.",
    lower_bound=8,
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 256, "Images a step, over all replicas (256 in the paper).", lower_bound=1
)


def init_backbone() -> str | None:
    """Returns the path --init_backbone names; None for random weights, which a sweep over networks
    asks for by the word.
    """
    return None if INIT_BACKBONE.value in (None, "", "random") else INIT_BACKBONE.value

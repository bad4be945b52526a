"""The flags that several stages share: where images, backbones and outputs are, and how images are shown to the network."""

from absl import flags

DATA_DIR = flags.DEFINE_string("data_dir", None, "Directory of image shards written by a data_prep command.")
WORKDIR = flags.DEFINE_string("workdir", None, "Directory this command writes into; a killed run continues there.")
INIT_BACKBONE = flags.DEFINE_string("init_backbone", None, "A training workdir or its backbone.keras to start from; none: random.")
BACKBONE = flags.DEFINE_string("backbone", "alexnet", "Network: alexnet or vgg16.")
IMAGE_SIZE = flags.DEFINE_integer(
    "image_size",
    227,
    "Side of an image in pixels: 255 for jigsaw tasks and 227 otherwise in the paper, 64 for small images.",
    lower_bound=8,
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "Images a step, over all replicas (256 in the paper).", lower_bound=1)

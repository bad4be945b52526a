"""Draws a labelled image set: the embedded default, which needs no download.

python -m data_prep.shapes --output_dir=DIR

Ten kinds of objects, textured, lit and partly hidden, before cluttered landscapes. Every picture is
a function of (seed, split, index).
"""

from absl import flags

from ccssl_tf.runs import launch
from data_prep import command, drawing

NUM_TRAIN = flags.DEFINE_integer("num_train", 3000, "Pictures for training.", lower_bound=1)
NUM_VAL = flags.DEFINE_integer(
    "num_val", 600, "Pictures for validation; 0 for none.", lower_bound=0
)
IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 64, "Side of the pictures in pixels.", lower_bound=16, upper_bound=1024
)


def main():
    """Runs the command."""
    counts, image_size = {"train": NUM_TRAIN.value, "val": NUM_VAL.value}, IMAGE_SIZE.value
    command.run(
        lambda: drawing.image_set(counts, image_size, launch.SEED.value),
        inputs={},
        options={"image_size": image_size},
    )


if __name__ == "__main__":
    launch.launch(main, __doc__)

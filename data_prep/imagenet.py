"""Converts ILSVRC2012: the training tar of class tars and the validation tar as published, or the
unpacked tree.

python -m data_prep.imagenet --source=DIR --output_dir=DIR [--resize_short_side=256]

Nothing is unpacked. The classes of the validation images come from the development kit, val.txt, a
csv of wnids or class folders.
"""

from absl import flags

from ccssl_tf.runs import launch
from data_prep import command, imagenet_layout

SOURCE = flags.DEFINE_string(
    "source", None, "Directory holding the ILSVRC2012 tars, or train/ and val/."
)
GROUND_TRUTH_IDS = flags.DEFINE_enum(
    "ground_truth_ids",
    "devkit",
    ["devkit", "synsets"],
    "What the numbers of the validation ground truth are: ILSVRC2012_ID of the development kit, or "
    "line numbers of synsets.txt.",
)


def main():
    """Runs the command."""
    source, ids = SOURCE.value, GROUND_TRUTH_IDS.value
    command.run(
        lambda: imagenet_layout.list_images(source, ids),
        inputs={"source": source},
        options={"ground_truth_ids": ids},
    )


if __name__ == "__main__":
    launch.launch(main, __doc__)

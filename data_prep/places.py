"""Converts Places205 or Places365 (standard; 256x256 or high resolution): the tars as published, or
the unpacked tree.

python -m data_prep.places --source=DIR --output_dir=DIR [--resize_short_side=256]

Nothing is unpacked. Splits and labels come from the published lists, which must name the images
that are there.
"""

from absl import flags

from ccssl_tf.runs import launch
from data_prep import command, places_layout

SOURCE = flags.DEFINE_string(
    "source", None, "Directory of the tars or trees and the lists (or their unpacked folders)."
)
LAYOUT = flags.DEFINE_enum(
    "layout",
    "auto",
    ["auto", *places_layout.LAYOUTS],
    "Which Places it is; auto: the one whose lists are there.",
)
SKIP_UNLISTED = flags.DEFINE_bool(
    "skip_unlisted", False, "Leave out images that no list names, instead of refusing the source."
)


def main():
    """Runs the command."""
    source = SOURCE.value
    options = dict(layout=LAYOUT.value, skip_unlisted=SKIP_UNLISTED.value)
    command.run(
        lambda: places_layout.list_images(source, **options),
        inputs={"source": source},
        options=options,
    )


if __name__ == "__main__":
    launch.launch(main, __doc__)

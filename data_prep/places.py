"""Converts Places205 or Places365 (standard; 256x256 or high resolution): the tars as published, or
the unpacked tree.

python -m data_prep.places --source=DIR --output_dir=DIR [--resize_short_side=256]

Nothing is unpacked. Splits and labels come from the published lists, which must name the images
that are there.
"""

import dataclasses

from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import setting
from ccssl_tf.runs.values import Values
from data_prep import command
from data_prep.command import ConverterSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlacesSettings(ConverterSettings):
    """Places, and how it is converted."""

    source: str = setting(
        help="Directory of the tars or trees and the lists (or their unpacked folders)."
    )
    layout: str = setting(
        "auto",
        "Which Places it is; auto: the one whose lists are there.",
        choices=("auto", "places205", "places365"),
    )
    skip_unlisted: bool = setting(
        False, "Leave out images that no list names, instead of refusing the source."
    )


COMMAND = Command("data_prep.places", __doc__, (PlacesSettings,))


def main(values: Values):
    """Runs the command."""
    settings = values[PlacesSettings]
    options = dict(layout=settings.layout, skip_unlisted=settings.skip_unlisted)

    def list_images():
        from data_prep import places_layout

        return places_layout.list_images(settings.source, **options)

    command.run(values, list_images, inputs={"source": settings.source}, options=options)


if __name__ == "__main__":
    launch(COMMAND, main)

"""The settings and the flow that every converter's command shares; the work itself is
`conversion`, imported only where it is done: `--help` answers at once.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ccssl_tf.runs import signals
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.settings import CommandSettings, OutputSettings, SeedSettings, setting
from ccssl_tf.runs.values import Values
from ccssl_tf.runs.workdir import Workdir
from data_prep.worker_pool import WorkersSettings

if TYPE_CHECKING:
    from data_prep.image_set import ImageSet


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConverterSettings(CommandSettings, OutputSettings, SeedSettings, WorkersSettings):
    """What every converter can be told; each adds its own."""

    output_dir: str = setting(help="Directory the records are written to; made if absent.")
    resize_short_side: int = setting(
        0,
        "What the short side of larger images is reduced to; 0 keeps every size.",
        unit="pixels",
        minimum=0,
        paper=256,
    )
    train_per_class: int = setting(
        0,
        "Training images of every class that are taken, drawn by the seed: for probes with few "
        "labels; 0: all.",
        minimum=0,
    )
    max_bad_images: int | None = setting(0, "Broken images left out before giving up.", minimum=0)
    max_pixels: int = setting(
        100_000_000,
        "Size above which an image is bad, undecoded.",
        unit="pixels",
        minimum=1,
        maximum=2**31 - 1,
    )
    min_side: int = setting(
        1, "Shorter side below which an image is bad.", unit="pixels", minimum=1
    )
    chroma_subsampling: str = setting(
        "auto",
        "Colours of images that are encoded again: one for each pixel (444), for two (422), for "
        "four (420). auto: 444 below 128 pixels, where less costs much, else 420.",
        choices=("auto", "444", "422", "420"),
    )
    runner: str = setting(
        "local",
        "local: processes of this machine. beam: an Apache Beam pipeline (extra `beam`); the same "
        "files.",
        choices=("local", "beam"),
    )
    beam_options: tuple[str, ...] = setting(
        (),
        "Beam's own options for --runner=beam, as runner=FlinkRunner,flink_master=HOST:PORT; none: "
        "its DirectRunner, one shard at a time. All workers must see the source and the output "
        "under the same paths; a job handed to a cluster is stopped there.",
    )

    def check(self):
        """Raises FlagError for Beam's options without Beam."""
        super().check()
        if self.beam_options and self.runner != "beam":
            raise FlagError("--beam_options: only for --runner=beam; give both or neither")


def run(
    values: Values,
    list_images: Callable[[], "ImageSet"],
    *,
    inputs: Mapping[str, str | None],
    options: Mapping[str, object] | None = None,
):
    """Lists the images and converts them into `output_dir`, or says that this is done.

    Args:
      values: of the command; one of the groups is a ConverterSettings.
      list_images: finds and checks the source; not called when the directory is complete.
      inputs: flag name -> path of what is read; None for a flag that was not given.
      options: the converter's own options, for the manifest.
    """
    (settings,) = (group for group in values if isinstance(group, ConverterSettings))
    if settings.runner == "beam":
        from data_prep import beam_pipeline

        beam_pipeline.require_beam()
    output_dir = pathlib.Path(settings.output_dir)
    inputs = {name: path for name, path in inputs.items() if path is not None}
    for name, path in inputs.items():
        if not pathlib.Path(path).exists():
            raise InputError(f"--{name}={path}: no such file or directory")
        if output_dir.resolve().is_relative_to(pathlib.Path(path).resolve()):
            raise InputError(
                f"--output_dir={output_dir} lies inside --{name}={path}; name a directory outside"
            )
    # Listing a large source takes minutes; a source that is refused must leave nothing behind.
    work = (
        None
        if (output_dir / "DONE").is_file()
        else _prepare(settings, list_images(), output_dir, options or {})
    )
    workdir = Workdir(output_dir, inputs=inputs, settings=values)
    if settings.dry_run:
        workdir.check()
        print("dry run: nothing written" if work else f"{output_dir}: already complete")
        return
    with workdir:
        from data_prep import conversion

        if workdir.is_done:
            conversion.remove_sidecars(output_dir)
            print(f"{output_dir}: already complete")
            return
        with signals.stop_on_signal() as stopped:
            metrics = work.convert(stopped)
        workdir.finish(metrics=metrics, passing=(conversion.SIDECARS,))
        conversion.remove_sidecars(output_dir)
    print(
        f"{output_dir}: "
        + ", ".join(f"{count} {name}" for name, count in metrics["images"].items())
        + " images"
    )


def _prepare(settings, image_set, output_dir, options):
    from data_prep import conversion, decoding, few_shots

    if settings.train_per_class:
        image_set = few_shots.with_few_train(
            image_set.source, image_set, settings.train_per_class, settings.seed
        )
        options = dict(options, train_per_class=settings.train_per_class)
    work = conversion.Conversion(
        image_set,
        output_dir,
        decode_options=decoding.DecodeOptions(
            settings.resize_short_side,
            settings.max_pixels,
            settings.min_side,
            settings.chroma_subsampling,
        ),
        max_bad_images=settings.max_bad_images,
        seed=settings.seed,
        num_workers=settings.num_processes,
        options=dict(options),
        beam_options=settings.beam_options if settings.runner == "beam" else None,
    )
    work.announce()
    return work

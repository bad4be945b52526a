"""The flags and the flow that every converter's command shares; the work itself is `conversion`."""

import pathlib
from collections.abc import Callable

from absl import flags

from ccssl_tf.runs import launch, signals
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.workdir import Workdir, directory_flag
from data_prep import beam_pipeline, conversion, decoding, worker_pool

OUTPUT_DIR = directory_flag(
    "output_dir", None, "Directory the records are written to; made if absent."
)
RESIZE_SHORT_SIDE = flags.DEFINE_integer(
    "resize_short_side",
    0,
    "Pixels the short side of larger images is reduced to; 0 keeps every size. Paper: 256.",
    lower_bound=0,
)
MAX_BAD_IMAGES = flags.DEFINE_integer(
    "max_bad_images", 0, "Broken images left out before giving up.", lower_bound=0
)
MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", 100_000_000, "Pixels above which an image is bad, undecoded.", lower_bound=1
)
MIN_SIDE = flags.DEFINE_integer(
    "min_side", 1, "Pixels of the shorter side below which an image is bad.", lower_bound=1
)
RUNNER = flags.DEFINE_enum(
    "runner",
    "local",
    ["local", "beam"],
    "local: processes of this machine. beam: an Apache Beam pipeline (extra `beam`); the same "
    "files.",
)
BEAM_OPTIONS = flags.DEFINE_list(
    "beam_options",
    [],
    "Beam's own options for --runner=beam, as runner=FlinkRunner,flink_master=HOST:PORT; none: its "
    "DirectRunner, one shard at a time. "
    "All workers must see the source and the output under the same paths; a job handed to a "
    "cluster is stopped there.",
)


def run(
    list_images: Callable[[], conversion.ImageSet],
    *,
    inputs: dict[str, str],
    options: dict | None = None,
):
    """Lists the images and converts them into `--output_dir`, or says that this is done.

    Args:
      list_images: finds and checks the source; not called when the directory is complete.
      inputs: flag name -> path of what is read.
      options: the converter's own options, for the manifest.
    """
    if not OUTPUT_DIR.value:
        raise FlagError("--output_dir is required: the directory the records are written to")
    if RUNNER.value == "beam":
        beam_pipeline.require_beam()
    elif BEAM_OPTIONS.value:
        raise FlagError("--beam_options are for --runner=beam; give both or neither")
    output_dir = pathlib.Path(OUTPUT_DIR.value)
    for name, path in inputs.items():
        if not path:
            raise FlagError(f"--{name} is required")
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
        else _prepare(list_images(), output_dir, options or {})
    )
    workdir = Workdir(output_dir, inputs=inputs)
    if launch.DRY_RUN.value:
        workdir.check()
        print("dry run: nothing written" if work else f"{output_dir}: already complete")
        return
    with workdir:
        if workdir.is_done:
            conversion.remove_sidecars(output_dir)
            print(f"{output_dir}: already complete")
            return
        with signals.stop_on_signal() as stopped:
            metrics = work.convert(stopped)
        workdir.finish(metrics=metrics)
        conversion.remove_sidecars(output_dir)
    print(
        f"{output_dir}: "
        + ", ".join(f"{count} {name}" for name, count in metrics["images"].items())
        + " images"
    )


def _prepare(image_set, output_dir, options):
    work = conversion.Conversion(
        image_set,
        output_dir,
        decode_options=decoding.DecodeOptions(
            RESIZE_SHORT_SIDE.value, MAX_PIXELS.value, MIN_SIDE.value
        ),
        max_bad_images=MAX_BAD_IMAGES.value,
        seed=launch.SEED.value,
        num_workers=worker_pool.num_workers(),
        options=options,
        beam_options=BEAM_OPTIONS.value if RUNNER.value == "beam" else None,
    )
    work.announce()
    return work

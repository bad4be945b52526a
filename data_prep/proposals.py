r"""Makes object proposals for converted images, for Fast R-CNN: by selective search, or from a file
of boxes.

python -m data_prep.proposals --data_dir=VOC_RECORDS --output_dir=DIR [--mode=quality]
python -m data_prep.proposals --data_dir=VOC_RECORDS --output_dir=DIR --method=precomputed \
    --source=voc_2007_trainval.mat

Boxes are xmin, ymin, xmax, ymax in 1-based inclusive pixels; ccssl_tf.data.proposal_records reads
them. Selective search takes about 3 s an image and core (fast) or 8 s (quality); stopped, it
continues with the images it has not seen.
"""

import pathlib
import shutil

from absl import flags

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.runs import launch, signals
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.workdir import Workdir, directory_flag
from data_prep import precomputed_boxes, proposal_shards, selective_search, worker_pool

DATA_DIR = directory_flag("data_dir", None, "Directory of converted images.")
OUTPUT_DIR = directory_flag(
    "output_dir", None, "Directory the proposals are written to; made if absent."
)
METHOD = flags.DEFINE_enum(
    "method", "selective_search", ["selective_search", "precomputed"], "Where the boxes come from."
)
MODE = flags.DEFINE_enum(
    "mode",
    "fast",
    ["fast", "quality"],
    "Of selective search; quality gives about three times the boxes.",
)
SOURCE = flags.DEFINE_string(
    "source",
    None,
    "File of precomputed boxes: Fast R-CNN's .mat (y1 x1 y2 x2), .npz or .json (name -> xmin ymin "
    "xmax ymax); all from 1.",
)
MAX_PROPOSALS = flags.DEFINE_integer(
    "max_proposals", 2000, "Boxes kept of an image. Fast R-CNN: about 2000.", lower_bound=1
)
MIN_BOX_SIDE = flags.DEFINE_integer(
    "min_box_side", 20, "Pixels below which found boxes are dropped. R-CNN: 20.", lower_bound=1
)
_SECONDS = {"fast": 3, "quality": 8}


def main():
    """Runs the command."""
    if not DATA_DIR.value or not OUTPUT_DIR.value:
        raise FlagError(f"--{'output_dir' if DATA_DIR.value else 'data_dir'} is required")
    precomputed = METHOD.value == "precomputed"
    if precomputed != bool(SOURCE.value):
        raise FlagError("--source names the file of --method=precomputed; give both or neither")
    data_dir, output_dir = pathlib.Path(DATA_DIR.value), pathlib.Path(OUTPUT_DIR.value)
    if output_dir.resolve() == data_dir.resolve():
        raise InputError(
            f"--output_dir={output_dir} holds the images; name another, such as "
            f"{output_dir / 'proposals'}"
        )
    _announce(manifest_lib.Manifest.read(data_dir, "images"), precomputed)
    workdir = Workdir(
        output_dir,
        inputs={"data_dir": data_dir} | ({"source": SOURCE.value} if precomputed else {}),
    )
    if launch.DRY_RUN.value:
        workdir.check()
        print("dry run: nothing written")
        return
    with workdir:
        if workdir.is_done:
            print(f"{output_dir}: already complete")
            return
        metrics = _write(data_dir, output_dir, precomputed)
        workdir.finish(metrics=metrics)
    print(
        f"{output_dir}: "
        + ", ".join(
            f"{found['proposals']} for {found['images']} {split} images"
            for split, found in metrics.items()
        )
    )


def _announce(images, precomputed):
    count = sum(images.num_examples(split) for split in images.splits)
    if precomputed:
        cost = f"{len(precomputed_boxes.read_boxes(SOURCE.value))} images in {SOURCE.value}"
    else:
        selective_search.require_opencv()
        hours = count * _SECONDS[MODE.value] / worker_pool.num_workers() / 3600
        cost = f"at most about {hours:.1f} h with {worker_pool.num_workers()} processes"
    size = count * MAX_PROPOSALS.value * 7 / 1e6
    print(
        f"{count} images ({', '.join(images.splits)}); {cost}; to write at most about {size:.3g} "
        "MB",
        flush=True,
    )


def _write(data_dir, output_dir, precomputed):
    cache_dir = output_dir / "searched"
    if precomputed:
        source, info = precomputed_boxes.PrecomputedBoxes(pathlib.Path(SOURCE.value)), {}
    else:
        cache_dir.mkdir(exist_ok=True)
        source = selective_search.SelectiveSearch(MODE.value, MIN_BOX_SIDE.value, cache_dir)
        info = dict(
            mode=MODE.value,
            min_box_side=MIN_BOX_SIDE.value,
            opencv=selective_search.require_opencv().__version__,
        )
    with signals.stop_on_signal() as stopped:
        metrics = proposal_shards.write_proposals(
            data_dir,
            output_dir,
            source,
            search_first=not precomputed,
            most=MAX_PROPOSALS.value,
            info=dict(info, method=METHOD.value),
            num_workers=worker_pool.num_workers(),
            stopped=stopped,
        )
    shutil.rmtree(cache_dir, ignore_errors=True)
    return metrics


if __name__ == "__main__":
    launch.launch(main, __doc__)

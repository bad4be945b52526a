r"""Makes object proposals for converted images, for Fast R-CNN: by selective search, or from a file
of boxes.

python -m data_prep.proposals --data_dir=VOC_RECORDS --output_dir=DIR [--mode=quality]
python -m data_prep.proposals --data_dir=VOC_RECORDS --output_dir=DIR --method=precomputed \
    --source=voc_2007_trainval.mat --source=voc_2007_test.mat

Boxes are xmin, ymin, xmax, ymax in 1-based inclusive pixels; ccssl_tf.data.proposal_records reads
them. Selective search takes about 3 s an image and core (fast) or 8 s (quality); stopped, it
continues with the images it has not seen.
"""

import dataclasses
import pathlib
import shutil

from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs import signals
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import CommandSettings, OutputSettings, SeedSettings, setting
from ccssl_tf.runs.values import Values
from ccssl_tf.runs.workdir import Workdir
from data_prep.worker_pool import WorkersSettings

_SECONDS = {"fast": 3, "quality": 8}
_BYTES_PER_BOX = 7


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProposalsSettings(CommandSettings, OutputSettings, SeedSettings, WorkersSettings):
    """Object proposals."""

    data_dir: str = setting(help="Directory of converted images.")
    output_dir: str = setting(help="Directory the proposals are written to; made if absent.")
    method: str = setting(
        "selective_search",
        "Where the boxes come from.",
        choices=("selective_search", "precomputed"),
    )
    mode: str = setting(
        "fast",
        "Of selective search; quality gives about three times the boxes.",
        choices=("fast", "quality"),
    )
    source: tuple[str, ...] = setting(
        (),
        "File of precomputed boxes: Fast R-CNN's .mat (y1 x1 y2 x2), .npz or .json (name -> xmin "
        "ymin xmax ymax); all from 1. Repeat the flag where each split has a file of its own.",
        repeated=True,
    )
    max_proposals: int = setting(
        2000, "Boxes kept of an image.", minimum=1, maximum=1_000_000, paper=2000
    )
    min_box_side: int = setting(
        20, "Side below which found boxes are dropped.", unit="pixels", minimum=1, paper=20
    )

    @property
    def is_precomputed(self) -> bool:
        """Whether the boxes come from a file."""
        return self.method == "precomputed"

    def check(self):
        """Raises FlagError for a file without its method, or the method without a file."""
        super().check()
        if self.is_precomputed != bool(self.source):
            raise FlagError("--source: names the file of --method=precomputed; give both or none")


COMMAND = Command("data_prep.proposals", __doc__, (ProposalsSettings,))


def main(values: Values):
    """Runs the command."""
    settings = values[ProposalsSettings]
    data_dir, output_dir = pathlib.Path(settings.data_dir), pathlib.Path(settings.output_dir)
    if output_dir.resolve() == data_dir.resolve():
        raise InputError(
            f"--output_dir={output_dir} holds the images; name another, such as "
            f"{output_dir / 'proposals'}"
        )
    _announce(Manifest.read(data_dir, "images"), settings)
    inputs = {"data_dir": data_dir} | {
        f"source[{number}]" if number else "source": path
        for number, path in enumerate(settings.source)
    }
    workdir = Workdir(output_dir, inputs=inputs, settings=values)
    if settings.dry_run:
        workdir.check()
        print("dry run: nothing written")
        return
    with workdir:
        if workdir.is_done:
            print(f"{output_dir}: already complete")
            return
        metrics = _write(data_dir, output_dir, settings)
        workdir.finish(metrics=metrics)
    print(
        f"{output_dir}: "
        + ", ".join(
            f"{counts['proposals']} for {counts['images']} {split} images"
            for split, counts in metrics.items()
        )
    )


def _announce(images, settings):
    from data_prep import precomputed_boxes, selective_search

    count = sum(images.num_examples(split) for split in images.splits)
    if settings.is_precomputed:
        cost = ", ".join(
            f"{len(precomputed_boxes.read_boxes(path))} images in {path}"
            for path in settings.source
        )
    else:
        selective_search.require_opencv()
        hours = count * _SECONDS[settings.mode] / settings.num_processes / 3600
        cost = f"at most about {hours:.1f} h with {settings.num_processes} processes"
    size = count * settings.max_proposals * _BYTES_PER_BOX / 1e6
    print(
        f"{count} images ({', '.join(images.splits)}); {cost}; to write at most about {size:.3g} "
        "MB",
        flush=True,
    )


def _write(data_dir, output_dir, settings):
    from data_prep import precomputed_boxes, proposal_shards, selective_search

    cache_dir = output_dir / "searched"
    if settings.is_precomputed:
        paths = tuple(map(pathlib.Path, settings.source))
        source, info = precomputed_boxes.PrecomputedBoxes(paths), {}
    else:
        cache_dir.mkdir(exist_ok=True)
        source = selective_search.SelectiveSearch(settings.mode, settings.min_box_side, cache_dir)
        info = dict(
            mode=settings.mode,
            min_box_side=settings.min_box_side,
            opencv=selective_search.require_opencv().__version__,
        )
    with signals.stop_on_signal() as stopped:
        metrics = proposal_shards.write_proposals(
            data_dir,
            output_dir,
            source,
            search_first=not settings.is_precomputed,
            max_boxes=settings.max_proposals,
            info=dict(info, method=settings.method),
            num_workers=settings.num_processes,
            stopped=stopped,
        )
    shutil.rmtree(cache_dir, ignore_errors=True)
    return metrics


if __name__ == "__main__":
    launch(COMMAND, main)

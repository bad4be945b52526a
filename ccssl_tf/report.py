"""Puts finished runs on one HTML page, with tables and figures as the paper has them.

    python -m ccssl_tf.report --runs=runs/quickstart --output_dir=runs/quickstart/report

Writes `index.html` (everything inside it, to be opened as a file), the numbers as `summary.json`,
the figures as PNGs, and `method.webp`, the method in one picture. Runs that differ in nothing but
the seed are shown as one network, with ranges.

    python -m ccssl_tf.report --paper --runs=runs/paper

Writes the paper's tables beside what runs named <evaluation>/<network> measured, and which of its
claims these hold: `paper.html`, `paper.csv`, `paper.tex`. `--collect=FILE` keeps the measurements
in one small file; `--paper --metrics=FILE` makes the tables of such files, without the runs.
"""

import dataclasses
import importlib
import pathlib

from ccssl_tf.metrics.filter_colour import colour_saturation
from ccssl_tf.reporting import figures, method_picture, page, terminal, transfers
from ccssl_tf.reporting import summary as summary_lib
from ccssl_tf.reporting.paper import collection, writing
from ccssl_tf.reporting.paper.claims import FIGURE_4
from ccssl_tf.reporting.paper.measurement import measure
from ccssl_tf.reporting.runs import RunSet, printable
from ccssl_tf.runs import machine
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import CorruptArtifactError, FlagError, InputError
from ccssl_tf.runs.files import write_bytes, write_json
from ccssl_tf.runs.json_files import read_json
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import CommandSettings, setting
from ccssl_tf.runs.shipped import located
from ccssl_tf.runs.workdir import check_place


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportSettings(CommandSettings):
    """This command."""

    runs: str | None = setting(None, "Directory with the runs, at any depth below it.")
    output_dir: str | None = setting(
        None,
        "Directory for the page and what belongs to it; an earlier report is replaced. It must be "
        "given but with --paper --runs=DIR, whose default is DIR/paper_report.",
    )
    reference: str | None = setting(
        None, "A summary.json over several seeds, whose ranges are shown beside the numbers."
    )
    paper: bool = setting(
        False, "Put the paper's tables and claims beside what was measured, instead of the report."
    )
    metrics: tuple[str, ...] = setting(
        (),
        "With --paper: a file that --collect wrote, used like the runs it was made from.",
        repeated=True,
    )
    collect: str | None = setting(
        None, "Write what the runs under --runs measured into this file; no page but with --paper."
    )

    def check(self):
        """There is something to report on, and a place for it."""
        if self.paper and not (self.runs or self.metrics):
            raise FlagError("--paper: of what? give --runs=DIR or --metrics=FILE")
        if self.metrics and not self.paper:
            raise FlagError(f"--metrics={self.metrics[0]}: goes with --paper")
        if self.reference and (self.paper or self.collect):
            raise FlagError(f"--reference={self.reference}: goes without --paper and --collect")
        if not self.runs and (self.collect or not self.paper):
            raise FlagError("--runs: not given; name the directory with the runs")
        has_default = self.collect or (self.paper and self.runs)
        if not self.output_dir and not has_default:
            raise FlagError("--output_dir: not given; name a directory for the page")
        if self.output_dir and self.collect and not self.paper:
            raise FlagError(
                f"--output_dir={self.output_dir}: --collect writes no page; add --paper"
            )


COMMAND = Command("ccssl_tf.report", __doc__, (ReportSettings,))


def write_report(runs: RunSet, output_dir, reference: dict | None = None) -> dict:
    """Writes the report of `runs` into `output_dir` and returns the summary.

    Args:
      runs: the runs.
      output_dir: directory, made if absent.
      reference: contents of another report's `summary.json`, or None.
    """
    output_dir = pathlib.Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    summary = summary_lib.summarise(runs)
    # First, because it marks the directory as a report's own, should this be killed.
    write_json(output_dir / "summary.json", summary)
    drawings = dict(
        probes={
            task: figures.both_grounds(figures.draw_probes, part)
            for task, part in summary["probes"].items()
        },
        curves=_curves(runs, summary),
        students=_students(runs, summary),
        sizes=_sizes(runs, summary),
    )
    for kind, by_subject in drawings.items():
        for subject, pictures in by_subject.items():
            write_bytes(output_dir / f"{kind}_{subject.replace('/', '_')}.png", pictures["light"])
    filters = [(name, run.picture("conv1_filters")) for name, run in page.filter_pictures(runs)]
    if filters:
        write_bytes(output_dir / "conv1_filters.png", figures.side_by_side(filters))
    for entry in summary["clusters"]:
        nearest = runs.named(entry["runs"][0]).picture("nearest_images")
        if nearest:
            name = entry["runs"][0].replace("/", "_")
            write_bytes(output_dir / f"nearest_images_{name}.png", nearest.read_bytes())
    probes = drawings["probes"].get("linear_probe", {}).get("light")
    if picture := method_picture.draw(runs, summary, probes):
        write_bytes(output_dir / method_picture.NAME, picture)
    html = page.page(runs, summary, drawings, reference)
    # A path that is no UTF-8 is shown with its bytes as numbers.
    write_bytes(output_dir / "index.html", html.encode(errors="backslashreplace"))
    return summary


def _curves(runs, summary):
    """Draws the curves of each task: its first run of every network. Students have their own."""
    by_name, curves = {run.name: run for run in runs.runs}, {}
    students = {entry["task"] for entry in summary["transfers"]}
    for task in dict.fromkeys(
        entry["task"] for entry in summary["training"] if entry["task"] not in students
    ):
        entries = [entry for entry in summary["training"] if entry["task"] == task]
        labelled = [(entry["network"], by_name[entry["runs"][0]]) for entry in entries]
        labelled = [(label, run) for label, run in labelled if run.history.get("train")]
        if labelled:
            curves[task] = figures.both_grounds(figures.draw_curves, labelled, entries[0]["chance"])
    return curves


def _students(runs, summary):
    """Draws the curves of the first run of each student."""
    by_name, curves = {run.name: run for run in runs.runs}, {}
    chances = {entry["runs"][0]: entry["chance"] for entry in summary["training"]}
    for entry in summary["transfers"]:
        run = by_name[entry["runs"][0]]
        if run.history.get("train"):
            curves[run.name] = figures.both_grounds(
                figures.draw_curves, [(entry["student"], run)], chances[run.name]
            )
    return curves


def _sizes(runs, summary):
    """Draws the sizes of the clusters of the first run of each clustering."""
    by_name = {run.name: run for run in runs.runs}
    sizes_of = {
        entry["runs"][0]: transfers.cluster_sizes(by_name[entry["runs"][0]])
        for entry in summary["clusters"]
    }
    return {
        name: figures.both_grounds(figures.draw_cluster_sizes, sizes)
        for name, sizes in sizes_of.items()
        if sizes
    }


def read_reference(path) -> dict | None:
    """Reads an earlier `summary.json`, from here or from the project's directory; raises InputError
    when it is none.
    """
    if not path:
        return None
    file = pathlib.Path(located(path))
    if not file.exists():
        raise InputError(f"--reference={path}: no such file")
    version = summary_lib.SCHEMA_VERSION
    try:
        return read_json(
            file, dict(probes=dict), remedy="make the report again", schema_version=version
        )
    except CorruptArtifactError as error:
        raise InputError(
            f"--reference={path}: not a summary.json of ccssl_tf.report, or of another version "
            f"({error})"
        ) from error


def _check_output(directory):
    check_place(directory)
    marks = ("summary.json", writing.SHEET_NAME)
    is_report = any((directory / mark).is_file() for mark in marks)
    if directory.is_dir() and any(directory.iterdir()) and not is_report:
        raise InputError(
            f"--output_dir={directory}: already holds something that is no report; name an empty "
            "directory"
        )


def _settings_of_older(module, flags):
    """What tells apart runs that an older version recorded with the flags of every task."""
    if module.startswith("ccssl_tf"):
        machine.quiet_tensorflow()
    command = vars(importlib.import_module(module)).get("COMMAND")
    return command.settings_of_older(flags) if isinstance(command, Command) else flags


def _saturation(stage, directory):
    """The colour saturation of the first filters of a network of Figure 4, None of others."""
    kind, _, network = stage.partition("/")
    is_shown = kind == "train" and network in FIGURE_4
    if not is_shown or not (directory / "backbone.keras").is_file():
        return None
    machine.quiet_tensorflow()
    from ccssl_tf.models.backbone_file import load_backbone

    kernel = load_backbone(directory).convolutions()[0].kernel.numpy()
    try:
        return colour_saturation(kernel)
    except ValueError:
        return None  # Another number of channels, or weights that are all 0 or not finite.


def _read_runs(settings: ReportSettings, output_dir) -> RunSet:
    """Reads the runs and says how many there are."""
    runs = RunSet(settings.runs, exclude=output_dir, settings_of_older=_settings_of_older)
    unfinished = ", ".join(run.name for run in runs.runs if not run.finished)
    more = f"; unfinished: {unfinished}" if unfinished else ""
    print(f"{len(runs.finished)} finished runs under {printable(settings.runs)}{more}")
    for line in runs.left_out:
        print(f"warning: left out: {line}", flush=True)
    return runs


def _report_on_paper(settings: ReportSettings):
    """Writes the paper's tables, the file of the measurements, or both."""
    output_dir = None
    if settings.paper:
        output_dir = pathlib.Path(settings.output_dir or f"{settings.runs}/paper_report")
        _check_output(output_dir)
    if settings.collect:
        collection.check_writable(settings.collect)
    sources = [(file, collection.read_collection(file)) for file in settings.metrics]
    if settings.runs:
        runs = _read_runs(settings, output_dir)
        if runs.unreadable:  # A claim must not be judged without a number that was measured.
            raise CorruptArtifactError(runs.unreadable[0])
        saturation_of = None if settings.dry_run else _saturation
        sources.append((f"--runs={settings.runs}", measure(runs, saturation_of)))
    if settings.dry_run:
        for source, measurements in sources:
            stages = sorted({one.stage for one in measurements})
            print(f"{source}: {len(measurements)} runs of {', '.join(stages) or 'no stage'}")
        written = [settings.collect] if settings.collect else []
        written += [str(output_dir / writing.PAGE_NAME)] if output_dir else []
        print(f"would write {' and '.join(written)}; takes seconds")
        return
    if not any(measurements for _, measurements in sources):
        raise InputError(
            f"{sources[-1][0]}: no run of a stage of the paper there; their directories are named "
            "<evaluation>/<network>, e.g. imagenet_probe/cc_jigsaw_pp"
        )
    if settings.collect:
        collection.write_collection(settings.collect, sources[-1][1])
        print(f"measurements of {len(sources[-1][1])} runs: {settings.collect}")
    if output_dir:
        for verdict in writing.write_paper_report(collection.put_together(sources), output_dir):
            print(f"{verdict.number}. {verdict.name}: {verdict.outcome}")
        print(f"report: {output_dir / writing.PAGE_NAME}")


def main(values):
    """Writes the report."""
    settings = values[ReportSettings]
    if settings.paper or settings.collect:
        _report_on_paper(settings)
        return
    output_dir = pathlib.Path(settings.output_dir)
    _check_output(output_dir)
    reference = read_reference(settings.reference)
    runs = _read_runs(settings, output_dir)
    if settings.dry_run:
        for run in runs.runs:
            print(f"  {run.name}: {run.module}")
        print(f"would write index.html to {output_dir}; takes seconds")
        return
    summary = write_report(runs, output_dir, reference)
    tables = terminal.format_probe_tables(summary) + terminal.format_overview(summary)
    print(f"{tables}report: {output_dir / 'index.html'}")


if __name__ == "__main__":
    launch(COMMAND, main)

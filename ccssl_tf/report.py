"""Puts finished runs on one HTML page, with tables and figures as the paper has them.

    python -m ccssl_tf.report --runs=runs/quickstart --output_dir=runs/quickstart/report

Writes `index.html` (everything inside it, to be opened as a file), the numbers as `summary.json`,
and the figures as PNGs. Runs that differ in nothing but the seed are shown as one network, with
ranges.
"""

import dataclasses
import importlib
import json
import pathlib

from ccssl_tf.reporting import figures, page, terminal, transfers
from ccssl_tf.reporting import summary as summary_lib
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.runs import machine
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import write_bytes, write_json
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import CommandSettings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportSettings(CommandSettings):
    """This command."""

    runs: str = setting(help="Directory with the runs, at any depth below it.")
    output_dir: str = setting(
        help="Directory for the page, its figures and summary.json; an earlier report is replaced."
    )
    reference: str | None = setting(
        None, "A summary.json over several seeds, whose ranges are shown beside the numbers."
    )


COMMAND = Command("ccssl_tf.report", __doc__, (ReportSettings,))
_PROJECT = pathlib.Path(__file__).parent.parent


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
        nearest = runs.root / entry["runs"][0] / "pictures" / "nearest_images.png"
        if nearest.is_file():
            name = entry["runs"][0].replace("/", "_")
            write_bytes(output_dir / f"nearest_images_{name}.png", nearest.read_bytes())
    write_bytes(output_dir / "index.html", page.page(runs, summary, drawings, reference).encode())
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
    try:
        file = pathlib.Path(path)
        reference = json.loads((file if file.exists() else _PROJECT / file).read_text())
        if reference["schema_version"] == summary_lib.SCHEMA_VERSION and "probes" in reference:
            return reference
    except OSError as error:
        raise InputError(f"--reference={path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(
        f"--reference={path}: not a summary.json of ccssl_tf.report, or of another version"
    )


def _check_output(directory):
    if directory.exists() and not directory.is_dir():
        raise InputError(f"--output_dir={directory}: is a file; name a directory")
    is_report = (directory / "summary.json").is_file()
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


def main(values):
    """Writes the report."""
    settings = values[ReportSettings]
    output_dir = pathlib.Path(settings.output_dir)
    _check_output(output_dir)
    reference = read_reference(settings.reference)
    runs = RunSet(settings.runs, exclude=output_dir, settings_of_older=_settings_of_older)
    unfinished = ", ".join(run.name for run in runs.runs if not run.finished)
    more = f"; unfinished: {unfinished}" if unfinished else ""
    print(f"{len(runs.finished)} finished runs under {settings.runs}{more}")
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

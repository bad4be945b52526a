"""The report's section on how every stage was made: its command, its flags, and its time."""

from ccssl_tf.reporting.run import Run
from ccssl_tf.reporting.run_titles import title_of
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.runs.run_record import format_command


def section(runs: RunSet) -> dict:
    """Returns the data of `stages.html.j2`."""
    return dict(
        title="How every stage was made", stages=[_stage(runs, run) for run in runs.as_made]
    )


def _stage(runs: RunSet, run: Run) -> dict:
    seconds = [f"{run.timing['seconds']:.0f} s"] if "seconds" in run.timing else []
    rates = [
        f"{rate:.4g} {name.replace('_per_second', '/s')}"
        for name, rate in run.timing.items()
        if name.endswith("_per_second")
    ]
    return dict(
        name=run.name,
        title=title_of(runs, run),
        finished=run.finished,
        timing=seconds + rates,
        command=format_command(run.command),
        flags=[f"--{name}={value}" for name, value in run.flags.items()],
    )

"""The report's section on training: accuracy and loss of every network, then task by task."""

from ccssl_tf.reporting.elements import Cell, figure, table
from ccssl_tf.reporting.examples import examples
from ccssl_tf.reporting.notes import how
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.text import chance_of, error_of, percent_over_seeds

_HEAD = (
    "",
    "backbone",
    "steps",
    "held out, %",
    "in training, %",
    "chance",
    "loss",
    "parameters",
    "time",
)
_DEFINITION = "share of held-out examples whose target gets the greatest logit"


def section(runs: RunSet, summary: dict, drawings: dict) -> dict | None:
    """Returns the data of `training.html.j2`, None where nothing was trained.

    Args:
      runs: the runs reported on.
      summary: `summary.summarise(runs)`.
      drawings: "curves": {task: pictures}.
    """
    if not summary["training"]:
        return None
    tasks = dict.fromkeys(entry["task"] for entry in summary["training"])
    return dict(
        title="Training",
        table=table(_HEAD, [_row(runs, entry) for entry in summary["training"]]),
        tasks=[_task(runs, summary, task, drawings["curves"].get(task)) for task in tasks],
    )


def _row(runs: RunSet, entry: dict) -> list[Cell | str]:
    run, numbers = runs.named(entry["runs"][0]), entry["evaluation"]
    seconds = sum(runs.named(name).timing.get("seconds", 0) for name in entry["runs"])
    parameters = run.metrics.get("num_parameters")
    return [
        Cell((entry["network"],), (_words(entry["task"]),)),
        str(entry["backbone"]),
        str(run.metrics.get("step", "-")),
        percent_over_seeds(numbers.get("accuracy")) + error_of(numbers.get("accuracy", {})),
        percent_over_seeds(entry["training"].get("accuracy")),
        chance_of(entry),
        f"{numbers['loss']['mean']:.3f}" if "loss" in numbers else "-",
        "-" if parameters is None else f"{parameters / 1e6:.2f} M",
        f"{seconds / len(entry['runs']):.0f} s" if seconds else "-",
    ]


def _words(task: str) -> str:
    return task.replace("_", " ").replace("jigsaw pp", "Jigsaw++")


def _task(runs: RunSet, summary: dict, task: str, curves: dict[str, bytes] | None) -> dict:
    entries = [entry for entry in summary["training"] if entry["task"] == task]
    # One run shows the examples: those of the others look alike.
    drawn = next((run for run in runs.finished if run.task == task and run.pictures), None)
    return dict(
        name=_words(task).capitalize(),
        curves=figure(
            curves,
            "Training batches (line) and held-out images (dots).",
            alternative=f"Loss and accuracy of {_words(task)} over the steps of training",
        )
        if curves
        else None,
        how=how(runs, entries, _DEFINITION),
        examples=examples(runs, drawn) if drawn else [],
    )

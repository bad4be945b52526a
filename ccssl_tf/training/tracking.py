"""The numbers of a run in Weights & Biases or MLflow, beside TensorBoard's.

Both are optional packages; where they send to is theirs to say (WANDB_MODE=offline, WANDB_PROJECT;
MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME). A run that is continued here is continued there: its
directory says what it is called there. Points after its last checkpoint may be there twice;
offline, W&B keeps a file for each process of a run, which `wandb sync --append` puts together.
"""

import contextlib
import importlib.util
import json
import os
import pathlib
import time
import typing
from collections.abc import Iterator, Mapping, Sequence

from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.files import write_json
from ccssl_tf.runs.progress import print_line

PROJECT = "ccssl_tf"
Hyperparameters = Mapping[str, bool | float | str]


class ScalarWriter(typing.Protocol):
    """What `training.train(..., writers=[...])` tells numbers to, besides TensorBoard."""

    def scalars(self, curve: str, values: Mapping[str, float], step: int) -> None:
        """Takes a point (name -> number) of the curve "train" or "held_out"."""


class Tracker(ScalarWriter, typing.Protocol):
    """A writer that knows a run from its beginning to its end."""

    def __init__(self, workdir: pathlib.Path, settings: Hyperparameters): ...

    def end(self, finished: bool) -> None:
        """Ends the run there, as one that is finished or one that was interrupted."""


class Wandb:
    """A run of Weights & Biases; its files are in `workdir/wandb`."""

    def __init__(self, workdir: pathlib.Path, settings: Hyperparameters):
        """Starts the run or continues it; raises InputError where that is refused."""
        import wandb

        known = _known(workdir, "wandb")
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=workdir.name,
                id=known,
                resume="allow",
                dir=workdir,
                config=dict(settings),
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            raise _refused("wandb", error) from error
        # Curves are of steps of training, in whatever order they are told.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        _remember(workdir, "wandb", self._run.id)
        place = self._run.dir if self._run.offline else self._run.url
        print_line(f"wandb  run {self._run.id}  {place}")

    def scalars(self, curve, values, step):
        """See `ScalarWriter`."""
        self._run.log({f"{curve}/{name}": value for name, value in values.items()} | {"step": step})

    def end(self, finished):
        """See `Tracker`."""
        self._run.finish(exit_code=0 if finished else 1)


class MLflow:
    """A run of MLflow."""

    # More settings at once are refused.
    _MAX_PARAMS = 100

    def __init__(self, workdir: pathlib.Path, settings: Hyperparameters):
        """Starts the run or continues it; raises InputError where the store does not answer."""
        import mlflow.entities
        import mlflow.exceptions

        self._entities, self._error = mlflow.entities, mlflow.exceptions.MlflowException
        self._client, self._answers = mlflow.MlflowClient(), True
        try:
            self._id = _known(workdir, "mlflow") or self._created(workdir)
            self._client.update_run(self._id, status="RUNNING")
            params = [mlflow.entities.Param(name, str(value)) for name, value in settings.items()]
            for first in range(0, len(params), self._MAX_PARAMS):
                self._client.log_batch(self._id, params=params[first : first + self._MAX_PARAMS])
        except self._error as error:
            raise _refused("mlflow", error) from error
        _remember(workdir, "mlflow", self._id)
        print_line(f"mlflow  run {self._id}  {mlflow.get_tracking_uri()}")

    def _created(self, workdir):
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        return self._client.create_run(number, run_name=workdir.name).info.run_id

    def scalars(self, curve, values, step):
        """See `ScalarWriter`. A store that stops answering ends nothing: metrics.jsonl has all."""
        if not self._answers:
            return
        now, Metric = int(1000 * time.time()), self._entities.Metric
        points = [Metric(f"{curve}/{name}", value, now, step) for name, value in values.items()]
        try:
            self._client.log_batch(self._id, metrics=points)
        except self._error as error:
            self._answers = False
            print_line(f"WARNING: mlflow is told no more from step {step} on: {_line(error)}")

    def end(self, finished):
        """See `Tracker`."""
        with contextlib.suppress(self._error):
            self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")


TRACKERS: dict[str, type[Tracker]] = dict(wandb=Wandb, mlflow=MLflow)


def check(names: Sequence[str]):
    """Raises FlagError for a name of `TRACKERS` whose package is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise FlagError(f"--log_to={name}: needs {name}: pip install 'ccssl_tf[{name}]'")


@contextlib.contextmanager
def tracked(
    names: Sequence[str], workdir: str | os.PathLike, settings: Hyperparameters
) -> Iterator[list[Tracker]]:
    """Yields the trackers of a run; leaving by an error tells them that it did not finish.

    Args:
      names: of `TRACKERS`.
      workdir: of the run, which it is called by.
      settings: of the run, by name.

    Raises:
      FlagError, InputError: see `check`, or one does not take the run.
    """
    check(names)
    trackers: list[Tracker] = []
    finished = False
    try:
        for name in names:
            trackers.append(TRACKERS[name](pathlib.Path(workdir), settings))
        yield trackers
        finished = True
    finally:
        for tracker in trackers:
            tracker.end(finished)


def _known(workdir, name) -> str | None:
    path = _path(workdir, name)
    return str(json.loads(path.read_text())["run"]) if path.is_file() else None


def _remember(workdir, name, run):
    write_json(_path(workdir, name), dict(run=run))


def _path(workdir, name):
    return workdir / f"{name}_run.json"


def _refused(name, error):
    return InputError(f"--log_to={name}: {_line(error)}")


def _line(error):
    return " ".join(str(error).split())

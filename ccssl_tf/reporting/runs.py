"""The runs under a directory: what each was made from, and what its network is called."""

import json
import os
import pathlib
import re

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.reporting.run import Run
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import fingerprint_of
from ccssl_tf.runs.run_record import FREE_FLAGS, read_flags

# Networks of other tasks are called after their task, with a capital letter.
_TASK_NAMES = {"jigsaw_pp": "Jigsaw++", "split_brain": "Split-brain"}
_EXTRACTOR_NAMES = {"hog": "HOG", "external": "external features"}
_CONTROLS = {"balanced_sampling": "balanced", "shuffle_labels": "shuffled labels"}
_SET_ASIDE = re.compile(r"\.old-\d+$")
# Two runs that differ in nothing else are seeds of one experiment.
_NOT_IDENTITY = FREE_FLAGS | {"seed"}


class RunSet:
    """The runs under one directory, in order of their names."""

    def __init__(self, root, *, exclude=None, settings_of_older=None):
        """Reads every run under `root` except what is under `exclude` or was set aside.

        Args:
          root: directory.
          exclude: directory below it.
          settings_of_older: maps module and flags (name -> text) of a run that was recorded before
            runs told their settings to these settings; by default all its flags are its settings.

        Raises:
          InputError: no such directory, or no finished run in it.
          CorruptArtifactError: a finished run's files cannot be read.
        """
        self.root = pathlib.Path(root)
        if not self.root.is_dir():
            raise InputError(f"--runs={root}: no such directory")
        self.runs = [
            _read(path, path.relative_to(self.root).as_posix(), settings_of_older)
            for path in _find(self.root, exclude)
        ]
        if not any(run.finished for run in self.runs):
            count = f"{len(self.runs)} unfinished" if self.runs else "none at all"
            raise InputError(
                f"--runs={root}: no finished run there ({count}); run ccssl_tf.pipeline or "
                "ccssl_tf.train first"
            )
        self._by_name = {run.name: run for run in self.runs}
        self._by_path = {os.path.realpath(run.path): run for run in self.runs}
        # A run that hands on what it has read, as a classifier on a frozen network does, has not
        # made it.
        made = [
            run
            for run in self.runs
            if run.fingerprint
            not in {None, *(record["fingerprint"] for record in run.inputs.values())}
        ]
        self._by_fingerprint = {run.fingerprint: run for run in reversed(made)}

    @property
    def finished(self) -> list[Run]:
        """The finished runs."""
        return [run for run in self.runs if run.finished]

    def named(self, name: str) -> Run:
        """Returns the run of that name."""
        return self._by_name[name]

    def source(self, run: Run, flag: str) -> Run | None:
        """Returns the run that made what `run` read as `--flag`, None if it is nowhere.

        It is sought at its place, if that still holds what was read, else by its fingerprint.
        """
        record = run.inputs.get(flag)
        if record is None:
            return None
        path = pathlib.Path(record["path"])
        path = path.parent if path.suffix == ".keras" else path
        here = self._by_path.get(os.path.realpath(path))
        if here is not None and here.fingerprint == record["fingerprint"]:
            return here
        if record["fingerprint"] in self._by_fingerprint:
            return self._by_fingerprint[record["fingerprint"]]
        if (path / "run.json").is_file():
            elsewhere = _read(path, str(path))
            return elsewhere if elsewhere.fingerprint == record["fingerprint"] else None
        return None

    @property
    def as_made(self) -> list[Run]:
        """The runs, each after those it was made from.

        Runs in one directory stay together, so that one seed follows the other.
        """
        return sorted(
            self.runs, key=lambda run: (os.path.dirname(run.name), self._depth(run), run.name)
        )

    def _depth(self, run):
        sources = (self.source(run, flag) for flag in run.inputs)
        return 1 + max((self._depth(source) for source in sources if source), default=0)

    def network(self, run: Run) -> str:
        """Returns what the paper would call the network of `run`.

        Examples are random, Jigsaw++, vgg-Jigsaw++, CC+Jigsaw++ and CC+HOG.
        """
        if run.task is None or run.is_evaluation:
            return self._network_read(run, "init_backbone")
        prefix = "vgg-" if run.flags.get("backbone") == "vgg16" else ""
        if run.task == "cluster_classification":
            kinds = [kind for flag, kind in _CONTROLS.items() if run.flags.get(flag) == "true"]
            return ", ".join(
                [f"{prefix}CC+{self.clustered(self.source(run, 'pseudo_labels'))}", *kinds]
            )
        return prefix + _TASK_NAMES.get(run.task, run.task.replace("_", " ").capitalize())

    def clustered(self, cluster_run: Run | None) -> str:
        """Returns the name of the network (or HOG) whose features `cluster_run` clustered."""
        features = self.source(cluster_run, "features_dir") if cluster_run else None
        return self.extracted(features) if features else "unknown"

    def extracted(self, features: Run) -> str:
        """Returns the name of the network (or HOG) whose features the run `features` are."""
        extractor = features.flags.get("extractor", "endpoint")
        return _EXTRACTOR_NAMES.get(extractor) or self._network_read(features, "init_backbone")

    def _network_read(self, run, flag):
        if flag not in run.inputs:
            return "random"
        source = self.source(run, flag)
        return (
            self.network(source)
            if source
            else f"from {pathlib.Path(run.inputs[flag]['path']).name}"
        )

    def identity(self, run: Run) -> str:
        """Returns a digest of all that decides the result of `run` and what it was made from, but
        the seeds.

        The nonlinear probes of the layers of a network are one experiment, as the layers of a
        linear probe are.
        """
        free = _NOT_IDENTITY | ({"frozen_until"} if run.task == "nonlinear_probe" else set())
        settings = {
            name: text
            for name, text in run.settings.items()
            if name not in free and name not in run.inputs
        }
        inputs = {}
        for flag, record in run.inputs.items():
            source = self.source(run, flag)
            inputs[flag] = self.identity(source) if source else record["fingerprint"]
        return fingerprint_of([run.module, settings, inputs])

    def data(self, run: Run) -> str:
        """Returns the command that made the images `run` read, without paths and seed.

        If that is nowhere, it is the directory's name.
        """
        source = self.source(run, "data_dir")
        if source is None:
            return (
                pathlib.Path(run.inputs["data_dir"]["path"]).name
                if "data_dir" in run.inputs
                else "unknown"
            )
        dropped = tuple(f"--{name}=" for name in ("source", *_NOT_IDENTITY))
        return " ".join(word for word in source.command if not word.startswith(dropped))


def _find(root, exclude):
    excluded = os.path.realpath(exclude) if exclude else None
    for directory, children, files in os.walk(root):
        if "run.json" in files:
            yield pathlib.Path(directory)
            children.clear()
        children[:] = sorted(
            name
            for name in children
            if not _SET_ASIDE.search(name)
            and os.path.realpath(os.path.join(directory, name)) != excluded
        )


def _read(path, name, settings_of_older=None):
    record = _json(path / "run.json", required=True)
    finished = (path / "DONE").is_file()
    try:
        command, inputs = list(record["command"]), dict(record["inputs"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptArtifactError(
            f"{path / 'run.json'}: not a record of a run ({error})"
        ) from error
    flags, settings = read_flags(path), record.get("settings")
    if settings is None:
        settings = settings_of_older(command[0], flags) if settings_of_older else flags
    fingerprints = [
        _json(path / file).get("fingerprint")
        for file in (manifest_lib.MANIFEST_NAME, "backbone.json")
    ]
    return Run(
        path=path,
        name=name,
        command=command,
        inputs=inputs,
        flags=flags,
        settings=settings,
        finished=finished,
        metrics=_json(path / "metrics.json", required=finished),
        timing=_json(path / "timing.json"),
        made_by=tuple(
            f"{name} {record[name]}" for name in ("version", "commit") if record.get(name)
        ),
        fingerprint=next(filter(None, fingerprints), None),
    )


def _json(path, required=False):
    if not path.is_file() and not required:
        return {}
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CorruptArtifactError(
            f"{path}: cannot be read ({error}); run its command again in another directory"
        ) from error
    if not isinstance(value, dict):
        raise CorruptArtifactError(
            f"{path}: holds no JSON object; run its command again in another directory"
        )
    return value

"""The runs under a directory: what each was made from, and what its network is called."""

import contextlib
import os
import pathlib
import re

from PIL import Image

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.reporting.run import Run
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import fingerprint_of
from ccssl_tf.runs.json_files import read_json
from ccssl_tf.runs.run_record import (
    DONE_NAME,
    FLAGS_NAME,
    FREE_FLAGS,
    RUN_NAME,
    read_flags,
    read_record,
)

# Networks of other tasks are called after their task, with a capital letter.
_TASK_NAMES = {"jigsaw_pp": "Jigsaw++", "split_brain": "Split-brain"}
_EXTRACTOR_NAMES = {"hog": "HOG", "external": "external features"}
_CONTROLS = {"balanced_sampling": "balanced", "shuffle_labels": "shuffled labels"}
_SET_ASIDE = re.compile(r"\.old-\d+$")
_REMEDY = "run its command again in another directory"
_RECORDS = ([dict(step=range(1 << 63))], None)
_METRICS = dict(
    history=(dict(train=_RECORDS, evaluation=_RECORDS, health=_RECORDS), None),
    training=(dict, None),
    evaluation=(dict, None),
    facts=(dict, None),
)
# Two runs that differ in nothing else are seeds of one experiment.
_NOT_IDENTITY = FREE_FLAGS | {"seed"}


class RunSet:
    """The runs under one directory, in order of their names.

    Attributes:
      root: of the directory.
      runs: those that can be read.
      unreadable: a line for each of the others, with the file and the reason.
    """

    def __init__(self, root, *, exclude=None, settings_of_older=None):
        """Reads every run under `root` except what is under `exclude` or was set aside.

        Args:
          root: directory.
          exclude: directory below it.
          settings_of_older: maps module and flags (name -> text) of a run that was recorded before
            runs told their settings to these settings; by default all its flags are its settings.

        Raises:
          InputError: no such directory, or no finished run in it.
          CorruptArtifactError: there are runs, none of the finished ones can be read.
        """
        self.root = pathlib.Path(root)
        if not self.root.is_dir():
            raise InputError(f"--runs={root}: no such directory")
        self.runs: list[Run] = []
        self.unreadable: list[str] = []
        for path in _find(self.root, exclude):
            name = path.relative_to(self.root).as_posix()
            try:
                self.runs.append(_read(path, printable(name), settings_of_older))
            except CorruptArtifactError as error:
                self.unreadable.append(printable(str(error)))
        if self.unreadable and not self.finished:
            raise CorruptArtifactError(self.unreadable[0])
        if not self.finished:
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

    @property
    def left_out(self) -> list[str]:
        """A line for each run and picture that cannot be read, with the reason."""
        pictures = [picture for run in self.runs for picture in sorted(run.damaged)]
        return [*self.unreadable, *(f"{printable(str(path))}: is no PNG" for path in pictures)]

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
        if (path / RUN_NAME).is_file():
            with contextlib.suppress(CorruptArtifactError):
                elsewhere = _read(path, printable(str(path)))
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
            else f"from {printable(pathlib.Path(run.inputs[flag]['path']).name)}"
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
                printable(pathlib.Path(run.inputs["data_dir"]["path"]).name)
                if "data_dir" in run.inputs
                else "unknown"
            )
        dropped = tuple(f"--{name}=" for name in ("source", *_NOT_IDENTITY))
        words = [word for word in source.command if not word.startswith(dropped)]
        return printable(" ".join(words))


def _find(root, exclude):
    excluded = os.path.realpath(exclude) if exclude else None
    for directory, children, files in os.walk(root):
        if RUN_NAME in files:
            yield pathlib.Path(directory)
            children.clear()
        children[:] = sorted(
            name
            for name in children
            if not _SET_ASIDE.search(name)
            and os.path.realpath(os.path.join(directory, name)) != excluded
        )


def printable(text: str) -> str:
    r"""Returns a text that can be printed and written as UTF-8: of a file name that is none, the
    bytes become `\xNN`.
    """
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _read(path, name, settings_of_older=None):
    record = read_record(path / RUN_NAME)
    if not record["command"]:
        raise CorruptArtifactError(f"{path / RUN_NAME}: damaged (it names no command); {_REMEDY}")
    finished = (path / DONE_NAME).is_file()
    command, flags, settings = record["command"], read_flags(path), record.get("settings")
    if not flags.get("seed", "0").removeprefix("-").isdecimal():
        fault = f"the seed is {flags['seed'][:60]!a}"
        raise CorruptArtifactError(f"{path / FLAGS_NAME}: damaged ({fault}); {_REMEDY}")
    if settings is None:
        settings = settings_of_older(command[0], flags) if settings_of_older else flags
    outputs = [
        _json(path / file, dict(fingerprint=(str, None)))
        for file in (manifest_lib.MANIFEST_NAME, "backbone.json")
    ]
    return Run(
        path=path,
        name=name,
        command=command,
        inputs=record["inputs"],
        flags=flags,
        settings=settings,
        finished=finished,
        metrics=_json(path / "metrics.json", _METRICS, required=finished),
        timing=_json(path / "timing.json", dict),
        made_by=tuple(
            f"{name} {record[name]}" for name in ("version", "commit") if record.get(name)
        ),
        fingerprint=next(filter(None, (output.get("fingerprint") for output in outputs)), None),
        damaged=frozenset(
            picture for picture in (path / "pictures").glob("*.png") if not _is_picture(picture)
        ),
    )


def _json(path, form, required=False):
    return read_json(path, form, remedy=_REMEDY) if required or path.is_file() else {}


def _is_picture(path):
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            picture.verify()  # The checksums of all its parts.
        return True
    except Exception:  # Decoders raise anything on hostile bytes.
        return False

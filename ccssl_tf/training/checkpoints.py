"""Checkpoints that a killed run resumes from exactly: weights, optimizer, step, random states,
history, fingerprints, and the versions of what wrote them.
"""

import contextlib
import json
import pathlib
import re
import shutil
import typing

import keras
import tensorflow as tf

import ccssl_tf
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import sweep_temporary_files, write_bytes
from ccssl_tf.runs.json_files import read_json

_FINGERPRINTS = "fingerprints/.ATTRIBUTES/VARIABLE_VALUE"
_HISTORY = {str: ([dict(step=range(1 << 63))], {str: (int, float)})}
_RECORD = "record/.ATTRIBUTES/VARIABLE_VALUE"
# Index, data and (of version 0.1) history of a step, and the directory TensorFlow puts parts
# together in.
_FILE = re.compile(r"(?:ckpt|history)-(\d+)(?:\.|_temp)")


class Checkpoints:
    """The last two checkpoints of a run, under `workdir/checkpoints`."""

    def __init__(self, directory, model, optimizer, fingerprints: dict, *, writes: bool = True):
        """Sets up what is saved.

        Args:
          directory: of the checkpoints.
          model, optimizer: built.
          fingerprints: what the run depends on (architecture, data, ...); a checkpoint of others is
            refused.
          writes: False where another process writes the checkpoints and this one only restores
            them.
        """
        self._directory, self._writes = pathlib.Path(directory), writes
        self.step = tf.Variable(0, dtype=tf.int64)
        self._fingerprints = json.dumps(fingerprints, sort_keys=True)
        # Every variable by its place in the list, random states too: what Keras hides from
        # tf.train.Checkpoint would be lost silently.
        state = dict(
            variables=[variable.value for variable in model.variables],
            optimizer=optimizer,
            step=self.step,
            fingerprints=tf.Variable(self._fingerprints),
        )
        self._state = tf.train.Checkpoint(**state)
        # History and versions as JSON: inside, they have TensorFlow's checksums, and are there
        # whenever the weights are.
        self._record = tf.Variable("")
        self._checkpoint = tf.train.Checkpoint(**state, record=self._record)

    def _prefix(self, step):
        return str(self._directory / f"ckpt-{step}")

    def _steps(self):
        """The steps there are checkpoints of, the newest first; a checkpoint's index is written
        last.
        """
        return sorted(
            (int(path.stem.rsplit("-", 1)[1]) for path in self._directory.glob("ckpt-*.index")),
            reverse=True,
        )

    def save(self, history: dict):
        """Writes a checkpoint of the present step with `history` (JSON) in it, and removes all but
        the last two.
        """
        if not self._writes:
            return
        step = int(self.step.numpy())
        self._directory.mkdir(parents=True, exist_ok=True)
        self._record.assign(json.dumps(dict(history=history, versions=program_versions())))
        self._checkpoint.write(self._prefix(step))
        # For tf.train.latest_checkpoint; here the checkpoints themselves are looked for.
        write_bytes(
            self._directory / "checkpoint", f'model_checkpoint_path: "ckpt-{step}"\n'.encode()
        )
        kept = self._steps()[:2]
        # What a killed run has left goes, too. An index goes first: without it there is no
        # checkpoint.
        files = [(path, _FILE.match(path.name)) for path in self._directory.iterdir()]
        for path in sorted(
            (path for path, ours in files if ours and int(ours[1]) not in kept),
            key=lambda path: path.suffix != ".index",
        ):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def restore(self) -> dict | None:
        """Restores the newest readable checkpoint and returns its history; None when there is none.

        Raises:
          InputError: it belongs to a run on other data or of another architecture.
          CorruptArtifactError: there are checkpoints and none can be read, or another major version
            of TensorFlow, Keras or this project wrote them.
        """
        if self._writes:
            sweep_temporary_files(self._directory)
        candidates = self._steps()
        for step in candidates:
            prefix, told = self._prefix(step), None
            with _warned_of(prefix):
                told = self._told(step)
            if told is None:
                continue
            self._refuse_others(*told)
            with _warned_of(prefix):
                self._state.read(prefix).assert_existing_objects_matched().expect_partial()
                return told.history
        if candidates:
            raise CorruptArtifactError(
                f"{self._directory}: no checkpoint can be read; delete the directory to start again"
            )
        return None

    def _told(self, step):
        reader = tf.train.load_checkpoint(self._prefix(step))
        fingerprints = reader.get_tensor(_FINGERPRINTS).decode()
        if reader.has_tensor(_RECORD):
            return _Told(fingerprints, **json.loads(reader.get_tensor(_RECORD)))
        # Version 0.1 wrote the history beside the checkpoint, and no versions.
        beside = self._directory / f"history-{step}.json"
        return _Told(fingerprints, read_json(beside, _HISTORY, remedy="remove it"), {})

    def _refuse_others(self, fingerprints, history, versions):
        if fingerprints != self._fingerprints:
            raise InputError(
                _difference(
                    self._directory, json.loads(fingerprints), json.loads(self._fingerprints)
                )
            )
        present = program_versions()
        for name, version in versions.items():
            now = present.get(name, "none")
            if version.partition(".")[0] != now.partition(".")[0]:
                raise CorruptArtifactError(
                    f"{self._directory}: the checkpoint was written with {name} {version}, this is "
                    f"{now}; continue with {name} {version.partition('.')[0]}, or name another "
                    "--workdir to start again"
                )
            if version != now:
                print(
                    f"warning: {self._directory}: the checkpoint was written with {name} "
                    f"{version}, this is {now}; what follows may differ from what it would have "
                    "been",
                    flush=True,
                )


def program_versions() -> dict[str, str]:
    """Returns the versions of what decides how a run goes on, by name."""
    return dict(tensorflow=tf.__version__, keras=keras.__version__, ccssl_tf=ccssl_tf.__version__)


class _Told(typing.NamedTuple):
    """What a checkpoint says beside its variables."""

    fingerprints: str
    history: dict
    versions: dict[str, str]


@contextlib.contextmanager
def _warned_of(prefix):
    """Says that a checkpoint cannot be read where one of the errors is raised that damage makes."""
    try:
        yield
    except (
        tf.errors.OpError,
        IndexError,
        AssertionError,
        OSError,
        CorruptArtifactError,
    ) as error:
        print(
            f"warning: {prefix}: unreadable ({type(error).__name__}); trying the one before",
            flush=True,
        )


def _difference(directory, recorded, wanted):
    name = next(key for key in {**wanted, **recorded} if recorded.get(key) != wanted.get(key))
    return (
        f"{directory}: the checkpoint was made with another {name} ({recorded.get(name)}, now "
        f"{wanted.get(name)}); name another --workdir"
    )

"""Checkpoints that a killed run resumes from exactly: weights, optimizer, step, random states,
history and fingerprints.
"""

import json
import pathlib
import re
import shutil

import tensorflow as tf

from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import sweep_temporary_files, write_bytes, write_json

_FINGERPRINTS = "fingerprints/.ATTRIBUTES/VARIABLE_VALUE"
# Index, data and history of a step, and the directory TensorFlow puts parts together in.
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
        self._checkpoint = tf.train.Checkpoint(
            variables=[variable.value for variable in model.variables],
            optimizer=optimizer,
            step=self.step,
            fingerprints=tf.Variable(self._fingerprints),
        )

    def _history_file(self, step):
        return self._directory / f"history-{step}.json"

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
        """Writes a checkpoint of the present step with `history` (JSON) beside it, and removes all
        but the last two.
        """
        if not self._writes:
            return
        step = int(self.step.numpy())
        self._directory.mkdir(parents=True, exist_ok=True)
        write_json(self._history_file(step), history)
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
          CorruptArtifactError: there are checkpoints and none can be read.
        """
        if self._writes:
            sweep_temporary_files(self._directory)
        candidates = self._steps()
        for step in candidates:
            prefix = self._prefix(step)
            try:
                recorded = tf.train.load_checkpoint(prefix).get_tensor(_FINGERPRINTS).decode()
                if recorded != self._fingerprints:
                    raise InputError(
                        _difference(
                            self._directory, json.loads(recorded), json.loads(self._fingerprints)
                        )
                    )
                self._checkpoint.read(prefix).assert_existing_objects_matched().expect_partial()
                return json.loads(self._history_file(step).read_text())
            except (
                tf.errors.OpError,
                IndexError,
                AssertionError,
                OSError,
                json.JSONDecodeError,
                UnicodeDecodeError,
            ) as error:
                print(
                    f"warning: {prefix}: unreadable ({type(error).__name__}); trying the one "
                    "before",
                    flush=True,
                )
        if candidates:
            raise CorruptArtifactError(
                f"{self._directory}: no checkpoint can be read; delete the directory to start again"
            )
        return None


def _difference(directory, recorded, wanted):
    name = next(key for key in {**wanted, **recorded} if recorded.get(key) != wanted.get(key))
    return (
        f"{directory}: the checkpoint was made with another {name} ({recorded.get(name)}, now "
        f"{wanted.get(name)}); name another --workdir"
    )

"""Checkpoints that a killed run resumes from exactly: weights, optimizer, step, random states, history and fingerprints."""

import json
import pathlib

import tensorflow as tf

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.errors import CorruptArtifactError, InputError

_FINGERPRINTS = "fingerprints/.ATTRIBUTES/VARIABLE_VALUE"


class Checkpoints:
    """The last two checkpoints of a run, under `workdir/checkpoints`."""

    def __init__(self, directory, model, optimizer, fingerprints: dict, *, writes: bool = True):
        """Sets up what is saved.

        Args:
          directory: of the checkpoints.
          model, optimizer: built.
          fingerprints: what the run depends on (architecture, data, ...); a checkpoint of others is refused.
          writes: False where another process writes the checkpoints and this one only restores them.
        """
        self._directory, self._writes = pathlib.Path(directory), writes
        self.step = tf.Variable(0, dtype=tf.int64)
        self._fingerprints = json.dumps(fingerprints, sort_keys=True)
        # Every variable by its place in the list, random states too: what Keras hides from tf.train.Checkpoint would be lost silently.
        self._checkpoint = tf.train.Checkpoint(
            variables=[variable.value for variable in model.variables],
            optimizer=optimizer,
            step=self.step,
            fingerprints=tf.Variable(self._fingerprints),
        )
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(self._directory), max_to_keep=2)

    def _history_file(self, step):
        return self._directory / f"history-{step}.json"

    def save(self, history: dict):
        """Writes a checkpoint of the present step with `history` (JSON) beside it, and removes histories of older ones."""
        if not self._writes:
            return
        step = int(self.step.numpy())
        self._directory.mkdir(parents=True, exist_ok=True)
        manifest_lib.write_json(self._history_file(step), history)
        self._manager.save(checkpoint_number=step)
        kept = {self._history_file(path.rsplit("-", 1)[1]).name for path in self._manager.checkpoints}
        for path in self._directory.glob("history-*.json"):
            if path.name not in kept:
                path.unlink()

    def restore(self) -> dict | None:
        """Restores the newest readable checkpoint and returns its history; None when there is none.

        Raises:
          InputError: it belongs to a run on other data or of another architecture.
          CorruptArtifactError: there are checkpoints and none can be read.
        """
        if self._writes:
            manifest_lib.sweep_temporary_files(self._directory)
        candidates = sorted(self._directory.glob("ckpt-*.index"), key=lambda path: int(path.stem.rsplit("-", 1)[1]), reverse=True)
        for index in candidates:
            prefix = str(index.with_suffix(""))
            try:
                found = tf.train.load_checkpoint(prefix).get_tensor(_FINGERPRINTS).decode()
                if found != self._fingerprints:
                    raise InputError(_difference(self._directory, json.loads(found), json.loads(self._fingerprints)))
                self._checkpoint.restore(prefix).assert_existing_objects_matched()
                return json.loads(self._history_file(int(self.step.numpy())).read_text())
            except (tf.errors.OpError, IndexError, AssertionError, OSError, json.JSONDecodeError) as error:
                print(f"warning: {prefix}: unreadable ({type(error).__name__}); trying the one before", flush=True)
        if candidates:
            raise CorruptArtifactError(f"{self._directory}: no checkpoint can be read; delete the directory to start again")
        return None


def _difference(directory, found, wanted):
    name = next(key for key in {**wanted, **found} if found.get(key) != wanted.get(key))
    return f"{directory}: the checkpoint was made with another {name} ({found.get(name)}, now {wanted.get(name)}); name another --workdir"

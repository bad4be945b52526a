"""A fit of `minibatch`: batches, checkpoints between them, and a pass that measures the result."""

import dataclasses
import os
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering import checkpoint, engines
from ccssl_tf.clustering.device.minibatch import MinibatchSteps
from ccssl_tf.clustering.device.minibatch_state import MinibatchState, Progress
from ccssl_tf.clustering.device.minibatches import Minibatches
from ccssl_tf.clustering.device.rows import DeviceRows
from ccssl_tf.clustering.fitting.pass_log import PassLog
from ccssl_tf.clustering.fitting.restarts import FitResult, weighted_inertia
from ccssl_tf.clustering.messages import LOGGER
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.runs.errors import Interrupted


@dataclasses.dataclass(frozen=True)
class Options:
    """What is to be computed.

    Attributes:
      seed: int, of the batches and reassignments.
      batch_rows: int, B.
      max_passes: int, number of passes over the rows, at most.
      tolerance: float; the fit stops when the smoothed inertia fell by at most this share of it in
        a pass.
      max_no_improvement: int; the fit stops when this many batches in a row did not lower the
        smoothed inertia; 0: it does not stop for that reason.
      reassignment_ratio: float, see `MinibatchSteps`.
    """

    seed: int
    batch_rows: int
    max_passes: int
    tolerance: float
    max_no_improvement: int
    reassignment_ratio: float


def fit(
    reader: ChunkReader,
    start: Callable[[], np.ndarray],
    options: Options,
    strategy: tf.distribute.Strategy,
    *,
    log: PassLog,
    checkpoint_path: str | os.PathLike | None,
    identity: str,
    checkpoint_seconds: float,
) -> FitResult:
    """Fits, or continues the fit of a checkpoint.

    Args:
      reader: of the rows.
      start: returns the first centroids, [K, D] float32; not called if there is a checkpoint.
      options: what is to be computed.
      strategy: whose replicas compute.
      log: shows the passes.
      checkpoint_path: path; None: no checkpoints.
      identity: see `checkpoint`.
      checkpoint_seconds: time in seconds between two checkpoints inside a pass, at least.

    Raises:
      InputError, CorruptArtifactError: of the rows or the checkpoint.
      Interrupted: the reader was told to stop; a checkpoint is written.
    """
    state = checkpoint.load(checkpoint_path, identity, MinibatchState) if checkpoint_path else None
    is_new, source = state is None, reader.source
    if state is None:
        state = MinibatchState.start(start(), source.num_examples)
    batches = Minibatches(
        reader,
        strategy,
        num_clusters=len(state.centroids),
        batch_rows=options.batch_rows,
        seed=options.seed,
    )
    steps = MinibatchSteps(
        state,
        strategy,
        seed=options.seed,
        reassignment_ratio=options.reassignment_ratio,
        max_no_improvement=options.max_no_improvement,
        row_weights=source.weights,
    )
    saver = _Saver(checkpoint_path if distribution.is_chief(strategy) else None, identity, steps)
    if is_new:
        saver.save()
    passes, skip = divmod(state.step, batches.steps_per_pass)
    reason = None
    try:
        while reason is None:
            pass_started = time.monotonic()
            bytes_read = 0 if batches.rows.is_loaded else source.bytes_per_pass
            for progress in batches.run_pass(steps, passes, skip):
                if progress.not_finite >= 0:
                    raise source.not_finite(progress.not_finite)
                if options.max_no_improvement and progress.waited >= options.max_no_improvement:
                    reason = f"{progress.waited} batches did not lower the smoothed inertia"
                    break
                if time.monotonic() - saver.saved >= checkpoint_seconds:
                    saver.save()
            passes += 1
            if progress.step == passes * batches.steps_per_pass:
                done = source.num_examples - skip * batches.batch_rows
                log(
                    iteration=passes - 1,
                    inertia=progress.smoothed * source.total_weight,
                    moved_rows=progress.moved,
                    sizes=steps.counts(),
                    split=progress.reassigned,
                    computed=done * len(state.centroids),
                    seconds=time.monotonic() - pass_started,
                    bytes_read=bytes_read,
                )
                reason = reason or _reason_to_stop(steps.pass_before, progress, passes, options)
                steps.end_pass()
                saver.save()
            skip = 0
    except Interrupted:
        saver.save()
        raise
    LOGGER.info(f"stopped after {progress.step} batches, {passes} passes: {reason}")
    return _measured(reader, steps.state(), passes, batches.rows, strategy, log)


class _Saver:
    """Saves the state of a fit.

    Attributes:
      saved: float, when that was last done, as of `time.monotonic`.
    """

    def __init__(self, path: str | os.PathLike | None, identity: str, steps: MinibatchSteps):
        """Args: path: of the `.npz`; None: nothing is saved; identity: see `checkpoint`; steps."""
        self._path, self._identity, self._steps = path, identity, steps
        self.saved = time.monotonic()

    def save(self) -> None:
        """Writes the present state."""
        if self._path:
            checkpoint.save(self._path, self._steps.state(), self._identity)
        self.saved = time.monotonic()


def _reason_to_stop(before: float, progress: Progress, passes: int, options: Options) -> str | None:
    """Returns why the fit ends after a pass; before: the smoothed inertia of the pass before."""
    if not progress.moved and not progress.reassigned:
        return "no assignment changed"
    if (
        not progress.reassigned
        and before - progress.smoothed <= options.tolerance * progress.smoothed
    ):
        return f"the smoothed inertia fell by no more than {options.tolerance:g} of it"
    if passes >= options.max_passes:
        return "that is the most allowed (max_iterations)"
    return None


def _measured(
    reader: ChunkReader,
    state: MinibatchState,
    passes: int,
    rows: DeviceRows,
    strategy: tf.distribute.Strategy,
    log: PassLog,
) -> FitResult:
    """Returns the result, with inertia and sizes of the final centroids: one more pass."""
    started = time.monotonic()
    source = reader.source
    labels, squares = engines.nearest(reader, state.centroids, strategy, rows)
    inertia = weighted_inertia(source, squares)
    sizes = np.bincount(labels, minlength=len(state.centroids))
    log(
        iteration=passes,
        inertia=inertia,
        moved_rows=int(np.sum(labels != state.labels)),
        sizes=sizes,
        split=0,
        computed=labels.size * len(sizes),
        seconds=time.monotonic() - started,
        bytes_read=0 if rows.is_loaded else source.bytes_per_pass,
    )
    return FitResult(state.centroids, inertia, passes, labels)

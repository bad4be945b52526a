"""A fit of `minibatch`: batches, checkpoints between them, and a pass that measures the result."""

import dataclasses
import os
import time
from collections.abc import Callable

import numpy as np

from ccssl_tf.clustering import checkpoint
from ccssl_tf.clustering.device.minibatch import MinibatchState, MinibatchSteps
from ccssl_tf.clustering.device.minibatches import Minibatches
from ccssl_tf.clustering.fitting.pass_log import PassLog
from ccssl_tf.clustering.fitting.restarts import FitResult
from ccssl_tf.clustering.host import plain
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
      log: shows the passes.
      checkpoint_path: path; None: no checkpoints.
      identity: see `checkpoint`.
      checkpoint_seconds: time in seconds between two checkpoints inside a pass, at least.

    Raises:
      InputError, CorruptArtifactError: of the rows or the checkpoint.
      Interrupted: the reader was told to stop; a checkpoint is written.
    """
    state = checkpoint.load(checkpoint_path, identity, MinibatchState) if checkpoint_path else None
    is_new = state is None
    if state is None:
        state = MinibatchState.start(start(), reader.source.num_examples)
    batches = Minibatches(reader, options.batch_rows, options.seed)
    steps = MinibatchSteps(state, seed=options.seed, reassignment_ratio=options.reassignment_ratio)
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        if checkpoint_path:
            checkpoint.save(checkpoint_path, state, identity)
            saved = time.monotonic()

    if is_new:
        save()
    count, pass_started, first = reader.source.num_examples, time.monotonic(), state.step
    reason = None
    try:
        for positions, rows in batches.from_step(state.step):
            steps.step(positions, rows, reader.source.not_finite)
            passes, rest = divmod(state.step, batches.steps_per_pass)
            if options.max_no_improvement and state.waited >= options.max_no_improvement:
                reason = f"{state.waited} batches did not lower the smoothed inertia"
            if not rest:
                done = min((state.step - first) * batches.batch_rows, count)
                log(
                    iteration=passes - 1,
                    inertia=state.smoothed * count,
                    moved_rows=state.moved,
                    sizes=state.counts.copy(),
                    split=state.reassigned,
                    computed=done * len(state.centroids),
                    seconds=time.monotonic() - pass_started,
                    bytes_read=0 if reader.keeps else reader.source.bytes_per_pass,
                )
                reason = reason or _reason_to_stop(state, passes, options)
                state.pass_before, state.moved, state.reassigned = state.smoothed, 0, 0
                pass_started, first = time.monotonic(), state.step
            if reason:
                break
            if not rest or time.monotonic() - saved >= checkpoint_seconds:
                save()
    except Interrupted:
        save()
        raise
    passes = -(-state.step // batches.steps_per_pass)
    print(f"k-means  stopped after {state.step} batches, {passes} passes: {reason}", flush=True)
    return _measured(reader, state, passes, log)


def _reason_to_stop(state: MinibatchState, passes: int, options: Options) -> str | None:
    if not state.moved and not state.reassigned:
        return "no assignment changed"
    if (
        not state.reassigned
        and state.pass_before - state.smoothed <= options.tolerance * state.smoothed
    ):
        return f"the smoothed inertia fell by no more than {options.tolerance:g} of it"
    if passes >= options.max_passes:
        return "that is the most allowed (max_iterations)"
    return None


def _measured(reader: ChunkReader, state: MinibatchState, passes: int, log: PassLog) -> FitResult:
    """Returns the result, with inertia and sizes of the final centroids: one more pass."""
    started = time.monotonic()
    labels, squares = plain.nearest(reader, state.centroids)
    inertia = float(squares.sum(dtype=np.float64))
    sizes = np.bincount(labels, minlength=len(state.centroids))
    log(
        iteration=passes,
        inertia=inertia,
        moved_rows=int(np.sum(labels != state.labels)),
        sizes=sizes,
        split=0,
        computed=labels.size * len(sizes),
        seconds=time.monotonic() - started,
        bytes_read=reader.bytes_read,
    )
    return FitResult(state.centroids, inertia, passes, sizes)

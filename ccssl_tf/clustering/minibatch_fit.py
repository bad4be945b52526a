"""A fit of `minibatch` from its start to its end: passes of batches, checkpoints between batches,
and one pass that measures the result.
"""

import time

import numpy as np

from ccssl_tf.clustering import assignment, checkpoint
from ccssl_tf.clustering.minibatch import MinibatchState, MinibatchSteps
from ccssl_tf.clustering.minibatches import Minibatches
from ccssl_tf.clustering.restarts import FitResult
from ccssl_tf.runs.errors import Interrupted


def fit(
    reader,
    start,
    *,
    seed: int,
    batch_rows: int,
    max_passes: int,
    tolerance: float,
    max_no_improvement: int,
    reassignment_ratio: float,
    log,
    checkpoint_path,
    identity,
    checkpoint_seconds: float,
) -> FitResult:
    """Fits, or continues the fit of a checkpoint.

    Args:
      reader: ChunkReader.
      start: returns the first centroids, [K, D] float32.
      seed: of the batches and reassignments.
      batch_rows: B.
      max_passes: most passes over the rows.
      tolerance: stop when the smoothed inertia fell by at most this share of it in a pass.
      max_no_improvement: stop when this many batches in a row did not lower the smoothed inertia;
        0: never for that reason.
      reassignment_ratio: see `MinibatchSteps`.
      log: PassLog.
      checkpoint_path, identity: see `checkpoint`; no checkpoints if the path is None.
      checkpoint_seconds: least time between two checkpoints inside a pass.
    """
    state = checkpoint.load(checkpoint_path, identity, MinibatchState) if checkpoint_path else None
    saved = time.monotonic()

    def save():
        nonlocal saved
        if checkpoint_path:
            checkpoint.save(checkpoint_path, state, identity)
            saved = time.monotonic()

    if state is None:
        state = MinibatchState.start(start(), reader.source.num_examples)
        save()
    batches = Minibatches(reader, batch_rows, seed)
    steps = MinibatchSteps(state, seed=seed, reassignment_ratio=reassignment_ratio)
    count, num_clusters = reader.source.num_examples, len(state.centroids)
    before, first = time.monotonic(), state.step
    reason = None
    try:
        for positions, rows in batches.from_step(state.step):
            steps.step(positions, rows, reader.source.not_finite)
            passes, rest = divmod(state.step, batches.steps_per_pass)
            if max_no_improvement and state.waited >= max_no_improvement:
                reason = f"{state.waited} batches did not lower the smoothed inertia"
            if not rest:
                seconds, done = (
                    time.monotonic() - before,
                    min((state.step - first) * batches.batch_rows, count),
                )
                log(
                    iteration=passes - 1,
                    inertia=state.smoothed * count,
                    moved_rows=state.moved,
                    sizes=state.counts.copy(),
                    split=state.reassigned,
                    computed=done * num_clusters,
                    seconds=seconds,
                    bytes_read=0 if reader.keeps else reader.source.bytes_per_pass,
                )
                reason = reason or _reason_to_stop(state, passes, max_passes, tolerance)
                state.pass_before, state.moved, state.reassigned = state.smoothed, 0, 0
                before, first = time.monotonic(), state.step
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


def _reason_to_stop(state, passes, max_passes, tolerance):
    if not state.moved and not state.reassigned:
        return "no assignment changed"
    if not state.reassigned and state.pass_before - state.smoothed <= tolerance * state.smoothed:
        return f"the smoothed inertia fell by no more than {tolerance:g} of it"
    if passes >= max_passes:
        return "that is the most allowed (max_iterations)"
    return None


def _measured(reader, state, passes, log):
    """Returns the result, with inertia and sizes of the final centroids over all rows: one more
    pass.
    """
    started = time.monotonic()
    labels, squares = assignment.nearest(reader, state.centroids)
    inertia, sizes = (
        float(squares.sum(dtype=np.float64)),
        np.bincount(labels, minlength=len(state.centroids)),
    )
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

"""A fit of `lloyd` or `lloyd_plain`: passes, updates of the centroids, and checkpoints."""

import dataclasses
import os
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering import checkpoint, engines
from ccssl_tf.clustering.assignment import Begun, MakeAssignment, PassResult
from ccssl_tf.clustering.fitting.pass_log import PassLog
from ccssl_tf.clustering.fitting.restarts import FitResult, weighted_inertia
from ccssl_tf.clustering.host.accelerated import AcceleratedAssignment
from ccssl_tf.clustering.host.plain import PlainAssignment
from ccssl_tf.clustering.messages import LOGGER
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader

# Algorithm -> how it assigns the rows.
ASSIGNMENTS: dict[str, MakeAssignment] = {
    "lloyd": AcceleratedAssignment,
    "lloyd_plain": PlainAssignment,
}
# Centroids that are computed from their sums at a time, so that they stay in the processor's cache.
_UPDATED_CENTROIDS = 64


@dataclasses.dataclass(frozen=True)
class Options:
    """What is to be computed, and where.

    Attributes:
      algorithm: str, one of `ASSIGNMENTS`.
      max_iterations: int, number of updates of the centroids, at most.
      tolerance: float; the fit stops when a pass lowers the inertia by at most this share of it.
      strategy: whose replicas share the rows.
    """

    algorithm: str
    max_iterations: int
    tolerance: float
    strategy: tf.distribute.Strategy


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
    state = (
        checkpoint.load(checkpoint_path, identity, checkpoint.FitState) if checkpoint_path else None
    )
    if state is None:
        state = checkpoint.FitState.start(start(), reader.source.num_examples)
    done = len(state.new_labels)
    assigner = engines.make_assignment(
        ASSIGNMENTS[options.algorithm],
        reader,
        np.concatenate([state.new_labels, state.labels[done:]]),
        state.sums,
        options.strategy,
    )
    begun: Begun | None = Begun(state.labels[:done], state.new_squares)
    saver = checkpoint.PassSaver(
        checkpoint_path if distribution.is_chief(options.strategy) else None,
        identity,
        checkpoint_seconds,
    )
    while True:
        started = time.monotonic()
        with saver.during(state):
            result = assigner.step(state.centroids, begun, saver.on_rows)
        begun = None
        inertia = weighted_inertia(reader.source, result.squares)
        moved = int(np.sum(result.labels != state.labels))
        log(
            iteration=state.iteration,
            inertia=inertia,
            moved_rows=moved,
            sizes=np.bincount(result.labels, minlength=len(result.counts)),
            split=state.reseeded,
            computed=result.distances,
            seconds=time.monotonic() - started,
            bytes_read=result.bytes_read,
        )
        reason = _reason_to_stop(state, inertia, moved, options)
        if reason:
            break
        centroids, reseeded = updated_centroids(reader, state.centroids, result)
        state = checkpoint.FitState(
            iteration=state.iteration + 1,
            centroids=centroids,
            labels=result.labels,
            inertia=inertia,
            reseeded=reseeded,
            sums=result.sums,
        )
    LOGGER.info(f"stopped after {state.iteration} iterations: {reason}")
    return FitResult(state.centroids, inertia, state.iteration, result.labels)


def _reason_to_stop(
    state: checkpoint.FitState, inertia: float, moved: int, options: Options
) -> str | None:
    # A cluster that was re-seeded with a row may win no row, because in the same update the row's
    # old centroid moves onto it; then the other empty clusters can still be re-seeded.
    if not moved and (not state.reseeded or inertia >= state.inertia):
        return "no assignment changed"
    if not state.reseeded and state.inertia - inertia <= options.tolerance * inertia:
        return f"the inertia fell by no more than {options.tolerance:g} of it"
    if state.iteration == options.max_iterations:
        return "that is the most allowed (max_iterations)"
    return None


def updated_centroids(
    reader: ChunkReader, centroids: np.ndarray, result: PassResult
) -> tuple[np.ndarray, int]:
    """Returns the means of the clusters, and re-seeds empty ones.

    Rule: E empty clusters take the E rows furthest from their centroids, each row once (equal
    distances: the earlier row), and the row leaves the mean of its old cluster; the only row of a
    cluster and rows at distance 0 are not taken. So with too few different rows the remaining empty
    clusters stay where they are.

    Args:
      reader: of the rows.
      centroids: [K, D] float32 of the pass.
      result: of the pass.

    Returns:
      [K, D] float32, and the number of empty clusters that were re-seeded.
    """
    counts, sums, changed = result.counts.copy(), result.sums, result.changed
    squares, reseeded, weights = result.squares, 0, reader.source.weights
    sizes = np.bincount(result.labels, minlength=len(counts))
    if weights is not None:
        squares = np.where(weights > 0, squares, 0)
    empty = np.flatnonzero(counts == 0)
    furthest = np.argsort(-squares, kind="stable")[: len(empty)] if len(empty) else empty
    furthest = np.sort(furthest[squares[furthest] > 0])
    if len(furthest):
        sums = sums.copy()
        for cluster, position, row in zip(empty, furthest, reader.take(furthest), strict=False):
            donor = result.labels[position]
            weight = 1 if weights is None else weights[position]
            if sizes[donor] > 1 and counts[donor] > weight:
                sums[donor] -= weight * row.astype(np.float64)
                counts[donor] -= weight
                sizes[donor] -= 1
                sums[cluster], counts[cluster] = weight * row.astype(np.float64), weight
                reseeded += 1
        changed = np.arange(len(counts))
    changed = changed[counts[changed] > 0]
    centroids = centroids.copy()
    for at in range(0, len(changed), _UPDATED_CENTROIDS):
        part = changed[at : at + _UPDATED_CENTROIDS]
        centroids[part] = sums[part] / counts[part, None]
    return centroids, reseeded

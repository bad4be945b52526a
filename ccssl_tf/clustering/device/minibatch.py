"""Mini-batch k-means: some rows at a time move the centroids nearest to them.

Sculley 2010, "Web-scale k-means clustering", algorithm 1. A row moves its centroid at the rate 1 /
n, where n rows are counted there, so that the centroid is their mean. A row that comes again in a
later pass is first taken from where it was counted before (Newling and Fleuret 2016, "Nested
mini-batch k-means", section 3.1): else a centroid would drag along rows that have long been
another's. The first pass is Sculley's. Centroids at which few rows are counted move to rows of the
batch, and a fit ends when the smoothed inertia stops falling, both like scikit-learn's
MiniBatchKMeans.

All of it is TensorFlow operations on variables of the devices. Of several replicas each labels its
part of a batch; then all have the whole batch, and change their centroids alike.
"""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering.device.minibatch_replica import MinibatchReplica, batch_part
from ccssl_tf.clustering.device.minibatch_state import MinibatchState, Progress
from ccssl_tf.clustering.device.replicas import Run, compiled, on_each
from ccssl_tf.clustering.device.rows import DeviceRows, RowShare


class MinibatchSteps:
    """Takes a state from step to step, on the replicas of a strategy."""

    def __init__(
        self,
        state: MinibatchState,
        strategy: tf.distribute.Strategy,
        *,
        seed: int,
        reassignment_ratio: float,
        max_no_improvement: int = 0,
        row_weights: np.ndarray | None = None,
    ):
        """Sets up the steps.

        Args:
          state: what to begin with.
          strategy: whose replicas compute.
          seed: of the draw of rows to which centroids are moved.
          reassignment_ratio: clusters with less weight than this share of the heaviest one's are
            moved; 0: only empty ones.
          max_no_improvement: the steps end when so many in a row did not lower `smoothed`; 0: they
            do not.
          row_weights: [N] float64; None: 1 each.
        """
        self._strategy, self._pass_before = strategy, state.pass_before
        self._shift = state.shift
        local = distribution.local_replica_numbers(strategy)
        self._replicas = on_each(
            strategy,
            lambda place: MinibatchReplica.start(
                state,
                seed=tf.constant(seed % 2**63, tf.int64),
                reassignment_ratio=tf.constant(reassignment_ratio, tf.float64),
                max_no_improvement=tf.constant(
                    max_no_improvement or np.iinfo(np.int64).max, tf.int64
                ),
                row_weights=None if row_weights is None else tf.constant(row_weights, tf.float64),
                place=local[place],
                num_replicas=strategy.num_replicas_in_sync,
            ),
        )
        self._run_dealt = compiled(_dealt_batches, strategy, self._replicas)
        self._run_batch = compiled(_one_batch, strategy, self._replicas)

    def begin_pass(self, order: np.ndarray) -> None:
        """Sets the order of the rows in the next pass: all positions, [N] int64."""
        for replica in self._replicas:
            replica.order.assign(order)

    def run_kept(self, rows: DeviceRows, first: int, count: int, batch_rows: int) -> Progress:
        """Makes steps with rows that the devices keep.

        Args:
          rows: which are kept.
          first: number of the first batch in the order of the pass.
          count: number of steps, at most.
          batch_rows: B.
        """
        run = compiled(_kept_batches, self._strategy, self._replicas, rows.shares())
        numbers = [tf.constant(number, tf.int64) for number in (first, count, batch_rows)]
        return _progress(run(*numbers))

    def run_dealt(self, batches: Iterator, count: int, batch_rows: int) -> Progress:
        """Makes at most `count` steps with batches of B rows, or fewer, see `minibatches`."""
        numbers = [tf.constant(number, tf.int64) for number in (count, batch_rows)]
        return _progress(self._run_dealt(batches, *numbers))

    def run_batch(self, positions: np.ndarray, rows: np.ndarray) -> Progress:
        """Makes one step with rows [B, D] float16 or float32 at `positions` [B] int64."""
        return _progress(self._run_batch(tf.constant(positions), tf.constant(rows)))

    def end_pass(self) -> None:
        """Begins to count moved rows and reassigned clusters anew."""
        self._pass_before = float(self._replicas[0].smoothed.numpy())
        for replica in self._replicas:
            replica.moved.assign(0)
            replica.reassigned.assign(0)

    @property
    def pass_before(self) -> float:
        """See `MinibatchState`."""
        return self._pass_before

    def counts(self) -> np.ndarray:
        """Returns how many rows are counted at each centroid: [K] int64."""
        return self._replicas[0].tallies.numpy()[:, 0].astype(np.int64)

    def state(self) -> MinibatchState:
        """Returns a copy of the state."""
        replica = self._replicas[0]
        tallies = replica.tallies.numpy()
        return MinibatchState(
            step=int(replica.step_number.numpy()),
            centroids=replica.centroids.values.numpy(),
            shift=self._shift,
            sums=replica.sums.numpy(),
            counts=tallies[:, 0].astype(np.int64),
            weights=tallies[:, 1],
            labels=replica.labels.numpy().astype(np.int32),
            smoothed=float(replica.smoothed.numpy()),
            lowest=float(replica.lowest.numpy()),
            waited=int(replica.waited.numpy()),
            pass_before=self._pass_before,
            since_reassignment=int(replica.since_reassignment.numpy()),
            moved=int(replica.moved.numpy()),
            reassigned=int(replica.reassigned.numpy()),
        )


def _progress(values: tf.Tensor) -> Progress:
    step, smoothed, *counts = values.numpy().tolist()
    return Progress(int(step), smoothed, *map(int, counts))


def _kept_batches(
    run: Run,
    replica: MinibatchReplica,
    share: RowShare,
    first: tf.Tensor,
    count: tf.Tensor,
    batch_rows: tf.Tensor,
) -> tf.Tensor:
    """See `MinibatchSteps.run_kept`; returns [6] float64, see `Progress`."""

    def step(number: tf.Tensor) -> tf.Tensor:
        at = (first + number) * batch_rows

        def on_replica(replica: MinibatchReplica, share: RowShare) -> tf.Tensor:
            positions = replica.order[at : at + batch_rows]
            return replica.step(positions, *share.of(positions), batch_rows)

        return run(on_replica, replica, share)

    return _loop(run, replica, step, count)


def _dealt_batches(
    run: Run, replica: MinibatchReplica, batches: Iterator, count: tf.Tensor, batch_rows: tf.Tensor
) -> tf.Tensor:
    """See `MinibatchSteps.run_dealt`; returns [6] float64, see `Progress`."""

    def step(_: tf.Tensor) -> tf.Tensor:
        return run(lambda replica, batch: replica.step(*batch, batch_rows), replica, next(batches))

    return _loop(run, replica, step, count)


def _one_batch(
    run: Run, replica: MinibatchReplica, positions: tf.Tensor, rows: tf.Tensor
) -> tf.Tensor:
    """See `MinibatchSteps.run_batch`; returns [6] float64, see `Progress`."""

    def step(replica: MinibatchReplica) -> tf.Tensor:
        size = tf.size(positions, tf.int64)
        part = batch_part(size, replica.place, replica.num_replicas)
        return replica.step(positions, tf.range(part.start, part.stop), rows[part], size)

    run(step, replica)
    return run(MinibatchReplica.progress, replica)


def _loop(
    run: Run, replica: MinibatchReplica, step: Callable[[tf.Tensor], tf.Tensor], count: tf.Tensor
) -> tf.Tensor:
    """Calls `step(number)` until `count` steps are made, or one says that it was the last."""
    tf.while_loop(
        lambda number, goes_on: goes_on & (number < count),
        lambda number, _: [number + 1, step(number)],
        [tf.constant(0, tf.int64), tf.constant(True)],
    )
    return run(MinibatchReplica.progress, replica)

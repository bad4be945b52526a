"""A step of mini-batch k-means on the device of one replica, see `minibatch`."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.device.cluster_sums import move_rows
from ccssl_tf.clustering.device.minibatch_state import MinibatchState
from ccssl_tf.clustering.device.nearest import Centroids, nearest_centroids, shifted_centroids
from ccssl_tf.clustering.device.replicas import device_variable

# Rows seen between two reassignments, for each cluster, as in scikit-learn.
_ROWS_BETWEEN = 10


class MinibatchReplica(NamedTuple):
    """The state on the device of one replica, in variables named as in `MinibatchState`.

    Attributes:
      centroids: `Centroids` of variables.
      tallies: variable [K, 2] float64, counts and weights.
      labels: variable [N] int64: TensorFlow keeps int32 out of the memory of GPUs.
      order: variable [N] int64, positions of the rows in the order of the pass; [0] if they are
        dealt out.
      num_examples: N, int64.
      step_number: variable, the state's `step`.
      not_finite: variable, as of `Progress`.
      seed, reassignment_ratio, max_no_improvement, row_weights: as of `MinibatchSteps`, in tensors.
      place: int, number of this replica among those of all processes.
      num_replicas: int, how many these are.
    """

    centroids: Centroids
    sums: tf.Variable
    tallies: tf.Variable
    labels: tf.Variable
    order: tf.Variable
    num_examples: tf.Tensor
    smoothed: tf.Variable
    lowest: tf.Variable
    step_number: tf.Variable
    waited: tf.Variable
    since_reassignment: tf.Variable
    moved: tf.Variable
    reassigned: tf.Variable
    not_finite: tf.Variable
    seed: tf.Tensor
    reassignment_ratio: tf.Tensor
    max_no_improvement: tf.Tensor
    row_weights: tf.Tensor | None
    place: int
    num_replicas: int

    @classmethod
    def start(cls, state: MinibatchState, **options: Any) -> "MinibatchReplica":
        """Returns a replica with a state; options: the other attributes."""
        shift = tf.constant(state.shift) if state.shift.any() else None
        scaled, norms = shifted_centroids(tf.constant(state.centroids), shift)
        return cls(
            centroids=Centroids(
                device_variable(state.centroids, tf.float32),
                shift,
                device_variable(scaled, tf.float32),
                device_variable(norms, tf.float32),
            ),
            sums=device_variable(state.sums, tf.float64),
            tallies=device_variable(np.stack([state.counts, state.weights], axis=1), tf.float64),
            labels=device_variable(state.labels, tf.int64, [None]),
            order=device_variable(np.zeros(0, np.int64), tf.int64, [None]),
            num_examples=tf.constant(len(state.labels), tf.int64),
            smoothed=device_variable(state.smoothed, tf.float64),
            lowest=device_variable(state.lowest, tf.float64),
            step_number=device_variable(state.step, tf.int64),
            waited=device_variable(state.waited, tf.int64),
            since_reassignment=device_variable(state.since_reassignment, tf.int64),
            moved=device_variable(state.moved, tf.int64),
            reassigned=device_variable(state.reassigned, tf.int64),
            not_finite=device_variable(-1, tf.int64),
            **options,
        )

    @property
    def num_clusters(self) -> int:
        """K."""
        return self.sums.shape[0]

    def progress(self) -> tf.Tensor:
        """Returns [6] float64, see `Progress`."""
        numbers = (
            self.step_number,
            self.smoothed,
            self.waited,
            self.moved,
            self.reassigned,
            self.not_finite,
        )
        return tf.stack([tf.cast(number, tf.float64) for number in numbers])

    def step(
        self, positions: tf.Tensor, slots: tf.Tensor, rows: tf.Tensor, batch_rows: tf.Tensor
    ) -> tf.Tensor:
        """Lets one batch move the centroids.

        Args:
          positions: [B] int64, of the rows of the batch, each once.
          slots: [n] int64, ascending, which of these this replica labels.
          rows: [n, D] float16 or float32, the rows there.
          batch_rows: int64, the number of rows of the largest batch.

        Returns:
          Whether another step may follow: bool. It may not if a row is not finite, after which
          nothing is changed, or `smoothed` did not fall for too long.
        """
        labels, squares = nearest_centroids(rows, self.centroids)
        if self.num_replicas > 1:
            rows, labels, squares = (
                _of_all_replicas(positions, slots, value, batch_rows)
                for value in (rows, labels, squares)
            )
        is_finite = tf.math.is_finite(squares)
        return tf.cond(
            tf.reduce_all(is_finite),
            lambda: self._update(positions, tf.cast(rows, tf.float32), labels, squares),
            lambda: self._end_at(tf.boolean_mask(positions, ~is_finite)[0]),
        )

    def _end_at(self, position: tf.Tensor) -> tf.Tensor:
        self.not_finite.assign(position)
        return tf.constant(False)

    def _update(
        self, positions: tf.Tensor, rows: tf.Tensor, labels: tf.Tensor, squares: tf.Tensor
    ) -> tf.Tensor:
        """Makes the step of a whole batch; returns whether another may follow."""
        before = tf.gather(self.labels, positions)
        self._count(positions, rows, before, labels)
        changed = tf.where(labels != before)[:, 0]
        count = tf.shape(rows, tf.int64)[0]
        self.moved.assign_add(tf.size(changed, tf.int64))
        self.since_reassignment.assign_add(count)
        reassigned = tf.cond(
            self.since_reassignment
            >= tf.minimum(np.int64(_ROWS_BETWEEN * self.num_clusters), self.num_examples),
            lambda: self._reassign(positions, rows, squares),
            lambda: tf.zeros([0], tf.int64),
        )
        self._follow(
            tf.concat([tf.gather(labels, changed), tf.gather(before, changed), reassigned], 0)
        )
        self._smooth(positions, squares, count)
        self.step_number.assign_add(1)
        return self.waited < self.max_no_improvement

    def _count(
        self, positions: tf.Tensor, rows: tf.Tensor, before: tf.Tensor, after: tf.Tensor
    ) -> None:
        """Counts rows [n, D] at the clusters `after` [n], and no longer at `before` [n], or -1."""
        ones = tf.ones(tf.shape(positions), tf.float64)
        weights = None if self.row_weights is None else self._weights_of(positions)
        move_rows(self.sums, rows, before, after, weights)
        tallies = tf.stack([ones, ones if weights is None else weights], axis=1)
        move_rows(self.tallies, tallies, before, after)
        self.labels.scatter_update(tf.IndexedSlices(after, positions))
        # The sum of no rows is 0, whatever rounding makes of it.
        left = tf.boolean_mask(before, before >= 0)
        self._forget(tf.boolean_mask(left, tf.gather(self.tallies, left)[:, 0] == 0))

    def _forget(self, clusters: tf.Tensor) -> None:
        """Makes the sums and tallies of clusters [n], which may come several times, 0."""
        for variable in (self.sums, self.tallies):
            zeros = tf.zeros([tf.size(clusters), variable.shape[1]], tf.float64)
            variable.scatter_update(tf.IndexedSlices(zeros, clusters))

    def _weights_of(self, positions: tf.Tensor) -> tf.Tensor:
        if self.row_weights is None:
            return tf.ones(tf.shape(positions), tf.float64)
        return tf.gather(self.row_weights, positions)

    def _reassign(self, positions: tf.Tensor, rows: tf.Tensor, squares: tf.Tensor) -> tf.Tensor:
        """Moves clusters with little weight to rows of the batch, drawn at random.

        They are at most half as many as the batch has rows.

        Returns:
          The clusters whose sums have changed, [c] int64.
        """
        self.since_reassignment.assign(0)
        counts, weights = self.tallies[:, 0], self.tallies[:, 1]
        is_low = (weights < self.reassignment_ratio * tf.reduce_max(weights)) | (counts == 0)
        max_low = tf.maximum(tf.size(positions) // 2, 1)
        num_low = tf.minimum(tf.reduce_sum(tf.cast(is_low, tf.int32)), max_low)
        # Those with little weight come first in the order of weights.
        low = tf.cast(tf.argsort(weights, stable=True)[:num_low], tf.int64)
        donors = tf.gather(self.labels, positions)
        # A row that lies on its centroid, or is the only one of its cluster, gains nothing.
        is_free = (
            (squares > 0)
            & (tf.gather(counts, donors) > 1)
            & ~tf.gather(self._are(low), donors)
            & (self._weights_of(positions) > 0)
        )
        keys = tf.random.stateless_uniform(
            tf.shape(positions), [self.seed, self.step_number], dtype=tf.float64, alg="philox"
        )
        free = tf.where(is_free)[:, 0]
        chosen = tf.gather(free, tf.argsort(tf.gather(keys, free))[:num_low])
        donors = tf.gather(donors, chosen)
        # A cluster whose chosen rows are all that it has keeps them.
        leaving = tf.math.unsorted_segment_sum(
            tf.ones_like(donors, tf.float64), donors, self.num_clusters
        )
        stays_filled = tf.gather(counts - leaving, donors) > 0
        chosen, donors = (tf.boolean_mask(value, stays_filled) for value in (chosen, donors))
        low = low[: tf.size(chosen)]
        is_emptied = tf.concat([[False], self._are(low)], 0)  # The first is for the label -1.
        self.labels.assign(
            tf.where(tf.gather(is_emptied, self.labels + 1), np.int64(-1), self.labels)
        )
        self._forget(low)
        self._count(tf.gather(positions, chosen), tf.gather(rows, chosen), donors, low)
        self.reassigned.assign_add(tf.size(low, tf.int64))
        return tf.concat([low, donors], 0)

    def _are(self, clusters: tf.Tensor) -> tf.Tensor:
        """Returns whether each cluster is among `clusters` [n]: [K] bool."""
        ones = tf.ones_like(clusters, tf.float32)
        return tf.math.unsorted_segment_sum(ones, clusters, self.num_clusters) > 0

    def _follow(self, clusters: tf.Tensor) -> None:
        """Moves the centroids of clusters [n], which may be -1 or come several times."""
        numbers = tf.where(self._are(clusters) & (self.tallies[:, 1] > 0))[:, 0]
        means = tf.gather(self.sums, numbers) / tf.gather(self.tallies, numbers)[:, 1:]
        values = tf.cast(means, tf.float32)
        scaled, norms = shifted_centroids(values, self.centroids.shift)
        for variable, value in (
            (self.centroids.values, values),
            (self.centroids.scaled, scaled),
            (self.centroids.norms, norms),
        ):
            variable.scatter_update(tf.IndexedSlices(value, numbers))

    def _smooth(self, positions: tf.Tensor, squares: tf.Tensor, count: tf.Tensor) -> None:
        """Takes the mean squared distance of a batch into `smoothed` and what follows from it."""
        weights = self._weights_of(positions)
        mean = tf.math.divide_no_nan(
            tf.reduce_sum(weights * tf.cast(squares, tf.float64)), tf.reduce_sum(weights)
        )
        total = tf.cast(self.num_examples, tf.float64)
        share = tf.minimum(2 * tf.cast(count, tf.float64) / (total + 1), 1)
        smoothed = tf.where(
            tf.math.is_inf(self.smoothed), mean, self.smoothed * (1 - share) + mean * share
        )
        # In the first pass the batches are not counted: a row may be the only one of its centroid,
        # so that distances are too small yet.
        is_lower = (smoothed < self.lowest) | ((self.step_number + 1) * count <= self.num_examples)
        self.smoothed.assign(smoothed)
        self.lowest.assign(tf.where(is_lower, smoothed, self.lowest))
        self.waited.assign(tf.where(is_lower, np.int64(0), self.waited + 1))


def batch_part(count: tf.Tensor, place: tf.Tensor | int, replicas: int) -> slice:
    """Returns which of the `count` rows of a batch the replica number `place` labels."""
    return slice(count * place // replicas, count * (place + 1) // replicas)


def _of_all_replicas(
    positions: tf.Tensor, slots: tf.Tensor, values: tf.Tensor, batch_rows: tf.Tensor
) -> tf.Tensor:
    """Returns [B, ...] from the values [n, ...] that each replica has for its slots [n]."""
    # All replicas must agree on a shape that is the same in every step.
    shape = tf.concat([[batch_rows], np.array(values.shape[1:], np.int64)], 0)
    # Every replica has 0 for the slots of others, so that the sums are the values of all.
    scattered = tf.scatter_nd(slots[:, None], values, shape)
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, scattered)[: tf.size(positions)]

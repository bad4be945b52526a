"""Which rows make mini-batch number `step`: a function of seed and step that a disk can follow.

A pass takes every row once. Rows that the devices keep are permuted as a whole. Others are read in
windows that fit the memory, in the order that the source draws for the pass, and permuted inside
each. Nothing of this is kept in a checkpoint: what comes before the first batch that is wanted is
left out, unread where the source can leave rows out.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering.device.minibatch import MinibatchSteps
from ccssl_tf.clustering.device.minibatch_replica import batch_part
from ccssl_tf.clustering.device.minibatch_state import Progress
from ccssl_tf.clustering.device.rows import DeviceRows, as_device_type, deal
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader, reader_of_worker
from ccssl_tf.data.feature_source import naming_faults

# A window is 1 / 4 of the memory: beside the one in use there are the next one, and the copy that
# is made of it.
_MEMORY_FRACTION = 4
# A pass is made in so many parts, at most; but a part has no fewer steps than the minimum, since
# the host waits for the devices after each.
_PARTS = 64
_MIN_STEPS = 16


class Minibatches:
    """Makes the steps of a fit with the batches of a source, pass after pass.

    Attributes:
      batch_rows: int, B, at most N; the last batch of a pass may have fewer rows.
      steps_per_pass: int, number of batches of a pass.
      rows: `DeviceRows` of this worker's part.
    """

    def __init__(
        self,
        reader: ChunkReader,
        strategy: tf.distribute.Strategy,
        *,
        num_clusters: int,
        batch_rows: int,
        seed: int,
    ):
        """Args: reader: of all rows; strategy; num_clusters: K; batch_rows: B; seed: of the order.

        All of the rows are permuted where they fit the memory; the parts of several workers too.
        """
        self._reader, self._strategy, self._seed = reader, strategy, seed
        count = reader.source.num_examples
        self.batch_rows = min(batch_rows, count)
        self.steps_per_pass = -(-count // self.batch_rows)
        first = distribution.part_of_worker(count, strategy).start
        self.rows = DeviceRows(
            reader_of_worker(reader, strategy), strategy, num_clusters, first=first
        )
        row_bytes = reader.source.dim * reader.source.dtype.itemsize
        self._window_rows = max(
            reader.memory_bytes // _MEMORY_FRACTION // row_bytes, self.batch_rows
        )

    def run_pass(self, steps: MinibatchSteps, number: int, skip: int) -> Iterator[Progress]:
        """Makes the steps of a pass, and yields what is known after each part of them.

        Args:
          steps: of the fit.
          number: of the pass.
          skip: number of its batches that are done already.

        Raises:
          InputError, CorruptArtifactError: of the source.
          Interrupted: the reader was told to stop.
        """
        generator = np.random.default_rng([self._seed, 2, number])
        count = self.steps_per_pass
        size = max(-(-count // _PARTS), _MIN_STEPS)
        parts = [(first, min(size, count - first)) for first in range(skip, count, size)]
        if self.rows.keeps:
            steps.begin_pass(generator.permutation(self._reader.source.num_examples))
            for first, num_steps in parts:
                self._reader.check_stop()
                yield steps.run_kept(self.rows, first, num_steps, self.batch_rows)
        else:
            with self._dealt_batches(generator, skip) as batches:
                for _, num_steps in parts:
                    self._reader.check_stop()
                    yield steps.run_dealt(batches, num_steps, self.batch_rows)

    @contextlib.contextmanager
    def _dealt_batches(self, generator: np.random.Generator, skip: int) -> Iterator[Iterator]:
        """Returns the context of a pass that reads the rows.

        Its value is an iterator for `tf.function`: of (positions of the batch [B] int64, which of
        them a replica gets [n] int64, the rows there [n, D]) for every replica.
        """
        faults: list[Exception] = []
        source = self._reader.source
        windows = source.shuffled(generator, self._window_rows, skip * self.batch_rows, faults)
        batches = windows.rebatch(self.batch_rows)
        replicas = self._strategy.num_replicas_in_sync
        local = distribution.local_replica_numbers(self._strategy)

        def share(positions: tf.Tensor, rows: tf.Tensor, place: tf.Tensor):
            part = batch_part(tf.size(positions, tf.int64), place, replicas)
            return positions, tf.range(part.start, part.stop), as_device_type(rows[part])

        def shares(positions: tf.Tensor, rows: tf.Tensor) -> tf.data.Dataset:
            places = tf.data.Dataset.range(local.start, local.stop)
            return places.map(lambda place: share(positions, rows, place))

        with naming_faults(source, faults):
            yield iter(deal(batches.flat_map(shares), self._strategy))

"""What a pass of k-means shows of itself: a line, and scalars and a histogram for TensorBoard."""

import datetime
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.messages import LOGGER

# The values of a pass that become scalars.
_SCALARS = (
    "inertia",
    "moved",
    "empty_clusters",
    "split_clusters",
    "imbalance",
    "computed",
    "gflops",
    "gb_read",
    "seconds",
)


class PassLog:
    """Turns what is known after a pass into the values that are shown."""

    def __init__(
        self,
        num_examples: int,
        dim: int,
        num_clusters: int,
        max_passes: int,
        on_pass: Callable[[dict], None],
    ):
        """Sets up the log of a fit.

        Args:
          num_examples: N.
          dim: D.
          num_clusters: K.
          max_passes: number of passes that are made if nothing ends the fit before.
          on_pass: called with the values of every pass, see `KMeans.fit`.
        """
        self._all_distances = num_examples * num_clusters
        self._dim, self._max_passes, self._on_pass = dim, max_passes, on_pass

    def __call__(
        self,
        *,
        iteration: int,
        inertia: float,
        moved_rows: int,
        sizes: np.ndarray,
        split: int,
        computed: int,
        seconds: float,
        bytes_read: int,
    ) -> None:
        """Shows a pass.

        Args:
          iteration: number of updates (mini-batch: of passes) before it.
          inertia: sum of squared distances.
          moved_rows: number of rows that changed their cluster.
          sizes: [K] int, number of rows of each cluster.
          split: number of clusters that were empty, or too small, and got rows of others before
            this pass (mini-batch: in it).
          computed: number of distances that were computed.
          seconds: duration of the pass.
          bytes_read: bytes that it read.
        """
        rows = max(int(sizes.sum()), 1)
        self._on_pass(
            dict(
                iteration=iteration,
                inertia=inertia,
                moved=moved_rows / rows,
                empty_clusters=int(np.sum(sizes == 0)),
                split_clusters=int(split),
                # The measure is that of faiss: 1 if all clusters have as many rows, K if one has
                # all of them.
                imbalance=float(np.sum(np.square(sizes, dtype=np.float64)) * len(sizes) / rows**2),
                computed=computed / self._all_distances,
                gflops=2e-9 * computed * self._dim / max(seconds, 1e-9),
                seconds=seconds,
                gb_read=bytes_read / 1e9,
                eta_seconds=max(self._max_passes - iteration - 1, 0) * seconds,
                sizes=sizes,
            )
        )


def tell_pass(values: dict) -> None:
    """Tells of a pass in one line; values: see `KMeans.fit`."""
    left = datetime.timedelta(seconds=round(values["eta_seconds"]))
    LOGGER.info(
        f"pass {values['iteration'] + 1}  inertia {values['inertia']:.6g}  moved "
        f"{values['moved']:.2%}"
        f"  empty {values['empty_clusters']}  split {values['split_clusters']}  imbalance "
        f"{values['imbalance']:.3g}"
        f"  computed {values['computed']:.2%}  {values['gflops']:.3g} GFLOP/s  "
        f"{values['seconds']:.1f} s"
        f"  read {values['gb_read']:.3g} GB  at most {left} left"
    )


def write_summaries(writer: tf.summary.SummaryWriter, values: dict) -> None:
    """Writes the values of a pass, see `KMeans.fit`, as `kmeans/<name>`."""
    with writer.as_default(step=values["iteration"]):
        for name in _SCALARS:
            tf.summary.scalar(f"kmeans/{name}", values[name])
        tf.summary.histogram("kmeans/cluster_sizes", values["sizes"])
    writer.flush()

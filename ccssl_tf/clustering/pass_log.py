"""What a pass of k-means says of itself: in a line, and as TensorBoard scalars with a histogram of
the cluster sizes.
"""

import datetime

import numpy as np
import tensorflow as tf

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

    def __init__(self, num_examples: int, dim: int, num_clusters: int, most_passes: int, on_pass):
        """Args: most_passes: passes that are made if nothing ends the fit before; on_pass: called
        with the values, see `KMeans.fit`.
        """
        self._all = num_examples * num_clusters
        self._dim, self._most_passes, self._on_pass = dim, most_passes, on_pass

    def __call__(
        self, *, iteration, inertia, moved_rows, sizes, split, computed, seconds, bytes_read
    ):
        """Shows a pass.

        Args:
          iteration: updates (mini-batch: passes) before it.
          inertia: sum of squared distances.
          moved_rows: how many rows changed their cluster.
          sizes: [K] rows of each cluster.
          split: clusters that were empty, or too small, and got rows of others before this pass
            (mini-batch: in it).
          computed: how many distances were computed.
          seconds, bytes_read: of the pass.
        """
        rows = max(int(sizes.sum()), 1)
        self._on_pass(
            dict(
                iteration=iteration,
                inertia=inertia,
                moved=moved_rows / rows,
                empty_clusters=int(np.sum(sizes == 0)),
                split_clusters=int(split),
                # As faiss has it: 1 if all clusters are equal, K if one holds everything.
                imbalance=float(np.sum(np.square(sizes, dtype=np.float64)) * len(sizes) / rows**2),
                computed=computed / self._all,
                gflops=2e-9 * computed * self._dim / max(seconds, 1e-9),
                seconds=seconds,
                gb_read=bytes_read / 1e9,
                eta_seconds=max(self._most_passes - iteration - 1, 0) * seconds,
                sizes=sizes,
            )
        )


def print_pass(values: dict):
    """Prints one line for a pass; see `KMeans.fit`."""
    left = datetime.timedelta(seconds=round(values["eta_seconds"]))
    print(
        f"k-means  pass {values['iteration'] + 1}  inertia {values['inertia']:.6g}  moved "
        f"{values['moved']:.2%}"
        f"  empty {values['empty_clusters']}  split {values['split_clusters']}  imbalance "
        f"{values['imbalance']:.3g}"
        f"  computed {values['computed']:.2%}  {values['gflops']:.3g} GFLOP/s  "
        f"{values['seconds']:.1f} s"
        f"  read {values['gb_read']:.3g} GB  at most {left} left",
        flush=True,
    )


def write_summaries(writer, values: dict):
    """Writes the values of a pass to a `tf.summary` writer, as kmeans/*."""
    with writer.as_default(step=values["iteration"]):
        for name in _SCALARS:
            tf.summary.scalar(f"kmeans/{name}", values[name])
        tf.summary.histogram("kmeans/cluster_sizes", values["sizes"])
    writer.flush()

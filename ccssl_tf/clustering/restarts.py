"""Several fits from different starts, of which the one with the lowest inertia is kept."""

import dataclasses
import pathlib

import numpy as np

from ccssl_tf.clustering import checkpoint


@dataclasses.dataclass
class FitResult:
    """What a fit found.

    Attributes:
      centroids: [K, D] float32.
      inertia: sum over rows of the squared distance to the nearest of them.
      iterations: updates of the centroids (mini-batch: passes begun).
      cluster_sizes: [K] int64, rows nearest to each.
      fits_done: after how many fits this was the best.
    """

    centroids: np.ndarray
    inertia: float
    iterations: int
    cluster_sizes: np.ndarray
    fits_done: int = 1


def fit_seed(seed: int, number: int) -> int:
    """Returns the seed of fit `number`; of the first it is `seed` itself."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) if number else seed


def best_of(count: int, fit, checkpoint_path, identity, *, writes: bool = True) -> FitResult:
    """Runs `fit(number, path) -> FitResult` for number in [0, count) and returns the best result
    (equal ones: the first).

    Args:
      count: of fits.
      fit: `path` is where it keeps its own checkpoint; None if `checkpoint_path` is.
      checkpoint_path: of the first fit; its neighbours `*.fit<number>` and `*.best` are used too.
        None: no checkpoints.
      identity: see `checkpoint.save`.
      writes: False where another process writes the checkpoints.
    """
    if count == 1:
        return fit(0, checkpoint_path)
    kept = checkpoint_path and pathlib.Path(f"{checkpoint_path}.best")
    best = checkpoint.load(kept, identity, FitResult) if kept else None
    for number in range(best.fits_done if best else 0, count):
        own = checkpoint_path and (
            pathlib.Path(f"{checkpoint_path}.fit{number}")
            if number
            else pathlib.Path(checkpoint_path)
        )
        found = fit(number, own)
        if best is None or found.inertia < best.inertia:
            best = found
        best.fits_done = number + 1
        if kept and writes:
            checkpoint.save(kept, best, identity)
            own.unlink(missing_ok=True)
        print(
            f"k-means  fit {number + 1} of {count}: inertia {found.inertia:.6g}, lowest so far "
            f"{best.inertia:.6g}",
            flush=True,
        )
    return best

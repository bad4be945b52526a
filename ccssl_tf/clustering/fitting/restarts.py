"""Several fits from different starts, of which the one with the lowest inertia is kept."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import numpy as np

from ccssl_tf.clustering import checkpoint
from ccssl_tf.clustering.messages import LOGGER
from ccssl_tf.data.feature_source import FeatureSource


@dataclasses.dataclass
class FitResult:
    """The result of a fit.

    Attributes:
      centroids: [K, D] float32.
      inertia: float, sum over rows of the squared distance to the nearest of them.
      iterations: int, number of updates of the centroids (mini-batch: of passes begun).
      labels: [N] int32, the nearest of them to each row.
      fits_done: int, number of fits of which this is the best.
    """

    centroids: np.ndarray
    inertia: float
    iterations: int
    labels: np.ndarray
    fits_done: int = 1


def weighted_inertia(source: FeatureSource, squares: np.ndarray) -> float:
    """Returns the sum of the squared distances [N] of the rows, each times the row's weight."""
    if source.weights is None:
        return float(squares.sum(dtype=np.float64))
    return float(np.dot(source.weights, squares))


def fit_seed(seed: int, number: int) -> int:
    """Returns the seed of fit `number`; that of the first, number 0, is `seed` itself."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) if number else seed


def best_of(
    count: int,
    fit: Callable[[int, str | os.PathLike | None], FitResult],
    checkpoint_path: str | os.PathLike | None,
    identity: str,
    *,
    writes: bool = True,
) -> FitResult:
    """Runs several fits and returns the result with the lowest inertia; of equal ones the first.

    Args:
      count: number of fits, at least 1.
      fit: called with the number of the fit, from 0, and the path of its checkpoint; None if
        `checkpoint_path` is.
      checkpoint_path: path of the first fit's checkpoint; those of others are beside it with
        `.fit<number>` added, and the best result so far with `.best` added. None: no checkpoints.
      identity: see `checkpoint.save`.
      writes: False where another process writes the checkpoints.
    """
    if count == 1:
        return fit(0, checkpoint_path)
    best_path = checkpoint_path and pathlib.Path(f"{checkpoint_path}.best")
    best = checkpoint.load(best_path, identity, FitResult) if best_path else None
    for number in range(best.fits_done if best else 0, count):
        fit_path = checkpoint_path and pathlib.Path(
            f"{checkpoint_path}.fit{number}" if number else checkpoint_path
        )
        result = fit(number, fit_path)
        if best is None or result.inertia < best.inertia:
            best = result
        best.fits_done = number + 1
        if best_path and fit_path and writes:
            checkpoint.save(best_path, best, identity)
            fit_path.unlink(missing_ok=True)
        LOGGER.info(
            f"fit {number + 1} of {count}: inertia {result.inertia:.6g}, lowest so far "
            f"{best.inertia:.6g}"
        )
    assert best is not None
    return best

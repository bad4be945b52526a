import numpy as np
import pytest
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.fitting import restarts
from ccssl_tf.runs.errors import InputError


def test_the_best_of_several_is_kept():
    rows = blobs(600, 3, 12, seed=1, spread=0.3)
    single = [
        KMeans(12, initialization="random", seed=restarts.fit_seed(3, number)).fit(rows)
        for number in range(4)
    ]
    best = KMeans(12, initialization="random", seed=3, restarts=4).fit(rows)
    assert best.inertia == min(fit.inertia for fit in single) < max(fit.inertia for fit in single)
    np.testing.assert_array_equal(
        best.centroids, single[int(np.argmin([fit.inertia for fit in single]))].centroids
    )


@pytest.mark.parametrize("algorithm", ["lloyd", "minibatch"])
def test_a_stopped_series_continues_with_the_fit_it_was_in(tmp_path, algorithm):
    rows, settings = (
        blobs(600, 3, 12, seed=1),
        dict(initialization="random", restarts=3, algorithm=algorithm, max_iterations=3),
    )
    whole, passes = [], []
    expected = KMeans(12, **settings).fit(rows, on_pass=whole.append)

    def stop(values):
        passes.append(values)
        if len(passes) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        KMeans(12, **settings).fit(rows, checkpoint_path=tmp_path / "checkpoint.npz", on_pass=stop)
    later = []
    resumed = KMeans(12, **settings).fit(
        rows, checkpoint_path=tmp_path / "checkpoint.npz", on_pass=later.append
    )
    np.testing.assert_array_equal(resumed.centroids, expected.centroids)
    assert len(later) <= len(whole) - 6


def test_equal_fits_are_refused():
    with pytest.raises(InputError, match="restarts=2"):
        KMeans(2, initialization=np.eye(2), restarts=2).settings()

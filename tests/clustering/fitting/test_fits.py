import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from clustering.test_kmeans import blobs
from clustering.test_kmeans_settings import SETTINGS

from ccssl_tf.clustering.fitting import fits, restarts
from ccssl_tf.clustering.fitting.pass_log import PassLog
from ccssl_tf.clustering.kmeans_settings import ALGORITHMS
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader


@pytest.mark.parametrize("algorithm", sorted({*ALGORITHMS} - {"auto"}))
def test_every_fit_has_a_seed_of_its_own_and_the_best_is_kept(algorithm, tmp_path, told):
    rows = blobs(300, 3, 9, seed=1)
    reader = ChunkReader(sources.open_source(rows, 0), 64, 0)

    def fit(**changes):
        settings = dataclasses.replace(
            SETTINGS, num_clusters=9, algorithm=algorithm, initialization="random", **changes
        )
        log = PassLog(300, 3, 9, 6, lambda values: None)
        return fits.best_fit(
            reader, settings, tf.distribute.get_strategy(), log, tmp_path / "checkpoint.npz"
        )

    best = fit(restarts=3)
    lines = told()
    assert [f"fit {number} of 3" in lines for number in (1, 2, 3, 4)] == [True] * 3 + [False]
    for path in tmp_path.iterdir():
        path.unlink()
    results = []
    for number in range(3):
        results.append(fit(seed=restarts.fit_seed(0, number)))
        (tmp_path / "checkpoint.npz").unlink()
    assert len({result.inertia for result in results}) > 1
    lowest = min(results, key=lambda result: result.inertia)
    np.testing.assert_array_equal(best.centroids, lowest.centroids)
    assert best.inertia == lowest.inertia

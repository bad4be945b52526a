import numpy as np
import pytest
from clustering.test_kmeans import blobs
from sklearn.utils.estimator_checks import parametrize_with_checks

from ccssl_tf.clustering import MiniBatchKMeans
from ccssl_tf.runs.errors import InputError


@pytest.mark.slow
@parametrize_with_checks([MiniBatchKMeans()])
def test_scikit_learns_checks_of_mini_batches(estimator, check):
    check(estimator)


def test_batches_one_by_one_find_what_a_fit_finds():
    rows = blobs(4000, 6, 8, seed=2)
    kmeans = MiniBatchKMeans(8, initialization=rows[:8])
    for batch in np.split(rows, 20):
        kmeans.partial_fit(batch)
    assert kmeans.n_steps_ == 20 and len(kmeans.labels_) == 200
    whole = MiniBatchKMeans(8, initialization=rows[:8], minibatch_size=200).fit(rows)
    assert -kmeans.score(rows) < 1.3 * whole.inertia
    with pytest.raises(InputError, match=r"n_samples=5"):
        MiniBatchKMeans(8).partial_fit(rows[:5])

import collections
import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ccssl_tf.metrics import clustering


@pytest.mark.parametrize("seed", range(5))
def test_against_loops_and_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    labels, classes = generator.integers(0, 9, 200), generator.integers(0, 4, 200)
    members = collections.defaultdict(collections.Counter)
    for label, kind in zip(labels, classes, strict=True):
        members[label][kind] += 1
    commonest = {label: counter.most_common(1)[0][1] for label, counter in members.items()}
    assert clustering.purity(labels, classes) == pytest.approx(sum(commonest.values()) / 200)
    purities = clustering.cluster_purities(labels, classes, 10)
    for label, counter in members.items():
        assert purities[label] == pytest.approx(commonest[label] / counter.total())
    assert np.isnan(purities[9])
    sizes = np.bincount(labels, minlength=10)
    assert clustering.size_entropy(sizes) == pytest.approx(
        -sum(n / 200 * math.log(n / 200) for n in sizes if n)
    )
    assert clustering.adjusted_rand_index(labels, classes) == sklearn_metrics.adjusted_rand_score(
        classes, labels
    )
    mutual = sklearn_metrics.mutual_info_score(classes, labels)
    entropies = [clustering.size_entropy(np.bincount(values)) for values in (labels, classes)]
    assert clustering.normalized_mutual_information(labels, classes) == pytest.approx(
        mutual / np.mean(entropies)
    )


def test_equal_partitions_and_equal_sizes():
    classes = np.array([0, 0, 1, 1, 2])
    labels = np.array([4, 4, 0, 0, 2])
    assert clustering.purity(labels, classes) == 1
    assert clustering.normalized_mutual_information(labels, classes) == pytest.approx(1)
    assert clustering.adjusted_rand_index(labels, classes) == 1
    assert clustering.size_entropy([5, 5, 0, 5]) == pytest.approx(math.log(3))
    assert clustering.size_entropy([0, 7]) == 0

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.clustering.device import cluster_sums


@pytest.mark.parametrize("has_gpu", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3000])
def test_sums_follow_the_rows(has_gpu, weighted, count, monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind] * has_gpu)
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=(count, 5)) * 1e4).astype(np.float32)
    before, after = generator.integers(-1, 7, count), generator.integers(0, 7, count)
    weights = generator.random(count) if weighted else None
    wanted = generator.normal(size=(7, 5))
    sums = tf.Variable(wanted)
    values = rows.astype(np.float64) * (weights[:, None] if weighted else 1)
    np.add.at(wanted, after, values)
    np.subtract.at(wanted, before[before >= 0], values[before >= 0])
    tf.function(cluster_sums.move_rows)(sums, rows, before, after, weights)
    np.testing.assert_allclose(sums, wanted, rtol=1e-10, atol=1e-6)


def test_the_same_rows_have_the_same_sums_to_the_last_bit():
    generator = np.random.default_rng(0)
    rows, after = generator.normal(size=(5000, 40)), generator.integers(0, 3, 5000)
    results = []
    for _ in range(5):
        sums = tf.Variable(np.zeros([3, 40]))
        cluster_sums.move_rows(sums, tf.constant(rows), tf.fill([5000], np.int64(-1)), after)
        results.append(sums.numpy())
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])

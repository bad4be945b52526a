import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.device.minibatch import MinibatchSteps
from ccssl_tf.clustering.device.minibatch_state import MinibatchState


def steps_of(state, **options):
    options = dict(seed=0, reassignment_ratio=0.0) | options
    return MinibatchSteps(state, tf.distribute.get_strategy(), **options)


def test_steps_are_those_of_a_loop():
    generator = np.random.default_rng(0)
    rows, start = (
        generator.normal(size=(60, 4)).astype(np.float32),
        generator.normal(size=(5, 4)).astype(np.float32),
    )
    steps = steps_of(MinibatchState.start(start, 60))
    centroids, counted = start.astype(np.float64), {}
    for _ in range(4):
        for part in np.split(generator.permutation(60), 4):
            part = np.sort(part)
            labels = ((rows[part][:, None] - centroids[None]) ** 2).sum(-1).argmin(1)
            counted.update(zip(part.tolist(), labels.tolist(), strict=True))
            for cluster in set(counted.values()):
                centroids[cluster] = np.mean(
                    [rows[row] for row, label in counted.items() if label == cluster], axis=0
                )
            steps.run_batch(part, rows[part])
            state = steps.state()
            np.testing.assert_allclose(state.centroids, centroids, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(
                state.counts, np.bincount(list(counted.values()), minlength=5)
            )
    assert state.step == 16 and state.lowest <= state.smoothed < 4


def test_small_clusters_move_to_rows_of_others():
    rows = np.concatenate([np.random.default_rng(0).normal(size=(99, 2)), [[50, 50]]]).astype(
        np.float32
    )
    state = MinibatchState.start(np.array([[0, 0], [50, 50], [900, 900]], np.float32), 100)
    steps = steps_of(state, seed=1, reassignment_ratio=0.05)
    assert steps.run_batch(np.arange(100), rows).reassigned == 2
    state = steps.state()
    assert (
        (np.abs(state.centroids) < 10).all()
        and state.counts.sum() == 99
        and sorted(state.counts)[:2] == [1, 1]
    )
    for cluster in range(3):
        np.testing.assert_allclose(
            state.centroids[cluster], rows[state.labels == cluster].mean(axis=0), atol=1e-6
        )


def test_a_row_that_is_not_finite_is_named_and_changes_nothing():
    steps = steps_of(MinibatchState.start(np.eye(2, dtype=np.float32), 9))
    steps.run_batch(np.array([1, 2]), np.array([[1, 0], [0, 2]], np.float32))
    before = steps.state()
    rows = np.array([[1, 2], [np.inf, 0]], np.float32)
    assert steps.run_batch(np.array([3, 8]), rows).not_finite == 8
    for name, value in vars(steps.state()).items():
        np.testing.assert_array_equal(value, getattr(before, name))


def test_weights_are_as_good_as_copies():
    generator = np.random.default_rng(0)
    rows, weights = generator.normal(size=(30, 3)).astype(np.float32), generator.integers(1, 4, 30)
    copies = np.repeat(np.arange(30), weights)
    weighted = steps_of(MinibatchState.start(rows[:4], 30), row_weights=weights.astype(np.float64))
    copied = steps_of(MinibatchState.start(rows[:4], len(copies)))
    for _ in range(3):
        weighted.run_batch(np.arange(30), rows)
        copied.run_batch(np.arange(len(copies)), rows[copies])
    ours, theirs = weighted.state(), copied.state()
    np.testing.assert_allclose(ours.centroids, theirs.centroids, rtol=1e-6)
    np.testing.assert_array_equal(ours.weights, theirs.counts)
    np.testing.assert_allclose(ours.smoothed, theirs.smoothed, rtol=1e-6)

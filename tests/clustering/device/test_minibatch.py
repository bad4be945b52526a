import numpy as np
import pytest

from ccssl_tf.clustering.device.minibatch import MinibatchState, MinibatchSteps
from ccssl_tf.runs.errors import InputError


def test_steps_are_those_of_a_loop():
    generator = np.random.default_rng(0)
    rows, start = (
        generator.normal(size=(60, 4)).astype(np.float32),
        generator.normal(size=(5, 4)).astype(np.float32),
    )
    state = MinibatchState.start(start, 60)
    steps = MinibatchSteps(state, seed=0, reassignment_ratio=0.0)
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
            steps.step(part, rows[part], None)
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
    MinibatchSteps(state, seed=1, reassignment_ratio=0.05).step(np.arange(100), rows, None)
    assert state.reassigned == 2
    assert (
        (np.abs(state.centroids) < 10).all()
        and state.counts.sum() == 99
        and sorted(state.counts)[:2] == [1, 1]
    )
    for cluster in range(3):
        np.testing.assert_allclose(
            state.centroids[cluster], rows[state.labels == cluster].mean(axis=0), atol=1e-6
        )


def test_a_row_that_is_not_finite_is_named():
    state = MinibatchState.start(np.eye(2, dtype=np.float32), 9)
    rows = np.array([[1, 2], [np.inf, 0]], np.float32)
    with pytest.raises(InputError, match="row 8"):
        MinibatchSteps(state, seed=0, reassignment_ratio=0.0).step(
            np.array([3, 8]), rows, lambda position: InputError(f"row {position}")
        )

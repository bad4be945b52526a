import numpy as np
import pytest

from ccssl_tf.features.precision import StoredPrecision

ROWS = np.random.default_rng(0).normal(size=(600, 6)).astype(np.float32)


def measured(rows):
    precision = StoredPrecision()
    for part in np.array_split(rows, 5):
        precision.add(part)
    return precision


def test_losses_are_those_of_two_passes():
    rows = ROWS * np.float32([1, 10, 1e-6, 1e-9, 1, 1]) + np.float32([0, 300, 0, 0, 20_000, 7])
    rows[:, 5] = 0.1
    wide = rows.astype(np.float64)
    errors = rows.astype(np.float16) - wide
    losses = measured(rows).losses()
    np.testing.assert_allclose(losses[:5], (errors.var(axis=0) / wide.var(axis=0))[:5], rtol=1e-6)
    assert losses[5] == 0 and losses[0] < 1e-6 and losses[3] > 0.99 and losses[4] > 0.99


@pytest.mark.parametrize(
    "rows, keeps_enough, fault",
    [
        (ROWS, True, None),
        (np.maximum(ROWS, 0), True, None),
        (np.zeros_like(ROWS), True, None),
        (np.full_like(ROWS, 1 / 3), True, None),
        (ROWS + np.float32(80), False, None),
        (ROWS + np.float32(20_000), False, "and more than 0.1% of 6 of 6"),
        (ROWS * np.float32([1, 1, 1e-9, 1, 1, 1]), False, "100.00% of the variance of feature 2"),
        (ROWS * np.float32(1e5), False, "100.00%"),
    ],
    ids=["normal", "ReLU", "zero", "constant", "+80", "+20,000", "1e-9", "1e5"],
)
def test_what_is_chosen_and_what_is_refused(rows, keeps_enough, fault):
    precision = measured(rows)
    assert precision.keeps_enough == keeps_enough
    assert fault in precision.fault() if fault else precision.fault() is None

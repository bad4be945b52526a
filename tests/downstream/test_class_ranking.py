"""Means over the classes, against scikit-learn; what a random ranking scores."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ccssl_tf.downstream import class_ranking as lib


@pytest.fixture
def ranked():
    """Scores [40, 3] and presence; nothing shows the second class."""
    random = np.random.default_rng(0)
    presence = random.integers(-1, 2, [40, 3])
    presence[:, 1] = -np.abs(presence[:, 1])
    return random.normal(size=[40, 3]), presence


def test_means_are_over_the_classes_that_are_shown(ranked):
    scores, presence = ranked
    assert lib.shown_classes(presence) == [0, 2]
    expected = []
    for number in (0, 2):
        counted = presence[:, number] != 0
        positive = presence[counted, number] > 0
        expected.append(average_precision_score(positive, scores[counted, number]))
    means = lib.mean_average_precisions(scores, presence, "_here")
    assert means["mean_average_precision_step_here"] == pytest.approx(np.mean(expected), rel=1e-6)
    of_classes = lib.precisions_of_classes(scores, presence)
    assert means["mean_average_precision_here"] == np.mean(list(of_classes.values()))
    assert set(means) == {
        f"mean_average_precision{name}_here" for name in ("", "_step", "_11point")
    }


def test_chance_is_what_random_rankings_score(ranked):
    _, presence = ranked
    presence = np.tile(presence, [50, 1])
    random = np.random.default_rng(1)
    scores = [
        lib.mean_average_precisions(random.random(presence.shape), presence) for _ in range(5)
    ]
    mean = np.mean([score["mean_average_precision_step"] for score in scores])
    assert mean == pytest.approx(lib.chance(presence), abs=0.02)

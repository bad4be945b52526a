"""The images of every class that rank first."""

import numpy as np
import pytest

from ccssl_tf.data.few_shots import of_every_class
from ccssl_tf.runs.errors import InputError


@pytest.mark.parametrize("count", [1, 3, 7])
def test_they_are_those_that_a_loop_over_classes_finds(count):
    rng = np.random.default_rng(count)
    labels = rng.permutation(np.repeat(np.arange(4), [7, 20, 9, 30]))
    rank = rng.permutation(len(labels))
    expected = []
    for label in range(4):
        members = np.flatnonzero(labels == label)
        expected += members[np.argsort(rank[members])[:count]].tolist()
    chosen = of_every_class(labels, "abcd", rank, count, "--shots")
    assert chosen.tolist() == sorted(expected)


def test_classes_with_fewer_are_named():
    with pytest.raises(InputError, match=r"^--shots=3: fewer training images of a \(2\), c \(0\);"):
        of_every_class(np.array([0, 0, 1, 1, 1]), "abc", np.arange(5), 3, "--shots=3")

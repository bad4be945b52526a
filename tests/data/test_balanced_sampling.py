"""Every cluster is drawn equally often, every image of a cluster too, as by a sampler that holds
the whole epoch.
"""

import numpy as np
import pytest

from ccssl_tf.data.balanced_sampling import balanced_copies
from ccssl_tf.data.pipeline import Epoch


def zipf_labels(total, clusters, seed=0):
    """Cluster sizes from 1 to a third of all; some numbers are empty."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, clusters + 1)
    labels = generator.choice(clusters, total, p=weights / weights.sum()) * 2
    labels[:clusters] = np.arange(clusters) * 2
    return generator.permutation(labels)


def copies_of(labels, seed, epoch):
    return balanced_copies(labels, Epoch(16, seed, epoch))


@pytest.mark.parametrize("total, clusters", [(10, 3), (48, 5), (997, 40), (1000, 1), (7, 7)])
@pytest.mark.parametrize("epoch", [0, 3])
def test_clusters_and_their_images_differ_by_one_draw(total, clusters, epoch):
    labels = zipf_labels(total, clusters)
    copies = copies_of(labels, 1, epoch)
    assert copies.dtype == np.int32 and copies.shape == (total,) and copies.sum() == total
    draws = np.bincount(labels, copies)[np.unique(labels)]
    assert set(draws) <= {total // clusters, total // clusters + 1}
    for cluster in np.unique(labels):
        assert np.ptp(copies[labels == cluster]) <= 1


def test_it_is_a_function_of_labels_seed_and_epoch():
    labels = zipf_labels(500, 20)
    drawn = [copies_of(labels, *key) for key in ((0, 0), (0, 1), (1, 0), (2**31 - 1, 10**6))]
    assert len({tuple(copies) for copies in drawn}) == 4
    np.testing.assert_array_equal(drawn[1], copies_of(labels.copy(), 0, 1))


def test_over_epochs_the_frequencies_are_the_ideal_ones():
    """An image of a cluster of n is drawn N / (K n) times an epoch; the standard deviation of one
    epoch is at most 1/2.
    """
    labels, epochs = zipf_labels(300, 9), 400
    mean = np.mean([copies_of(labels, 7, epoch) for epoch in range(epochs)], 0)
    ideal = 300 / (9 * np.bincount(labels)[labels])
    np.testing.assert_allclose(mean, ideal, atol=5 * 0.5 / np.sqrt(epochs))


def test_it_draws_what_a_uniform_label_sampler_draws():
    """DeepCluster's sampler, written out: N / K + 1 draws of each cluster, with replacement where
    it is smaller, cut at N.
    """
    labels = zipf_labels(400, 8)
    generator, expected, epochs = np.random.default_rng(5), np.zeros(400), 300
    for _ in range(epochs):
        clusters = np.unique(labels)
        size = len(labels) // len(clusters) + 1
        members = [np.flatnonzero(labels == cluster) for cluster in clusters]
        drawn = np.concatenate(
            [generator.choice(of, size, replace=size > len(of)) for of in members]
        )
        expected += np.bincount(generator.permutation(drawn)[:400], minlength=400)
    drawn = sum(copies_of(labels, 0, epoch) for epoch in range(epochs))
    spread = np.sqrt(np.maximum(expected, epochs * 0.05))
    assert np.abs(drawn - expected).max() < 6 * spread.max()
    np.testing.assert_allclose(
        drawn / epochs, expected / epochs, atol=6 * np.sqrt(expected.max()) / epochs
    )


def test_a_million_images_take_a_moment():
    labels = np.random.default_rng(0).integers(0, 2000, 1_300_000)
    assert copies_of(labels, 0, 0).sum() == 1_300_000

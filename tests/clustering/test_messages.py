"""What a fit tells: nothing unless asked, warnings always."""

import logging

import numpy as np
import pytest

from ccssl_tf.clustering import KMeans, MiniBatchKMeans
from ccssl_tf.clustering.messages import LOGGER

ROWS = np.random.default_rng(0).normal(size=[300, 4]).astype(np.float32)


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
def test_a_fit_says_nothing_unless_it_is_asked_to(kind, capsys):
    kind(3).fit(ROWS)
    assert capsys.readouterr() == ("", "")
    kind(3, verbose=True).fit(ROWS)
    assert "k-means  pass 1  inertia" in capsys.readouterr().out
    assert not LOGGER.handlers and LOGGER.propagate


def test_a_program_may_listen(caplog):
    with caplog.at_level(logging.INFO, "ccssl_tf.kmeans"):
        KMeans(3).fit(ROWS)
    assert any(message.startswith("pass 1  inertia") for message in caplog.messages)


def test_empty_clusters_are_warned_of(caplog, capsys):
    rows = np.ones([5, 2], np.float32)
    KMeans(3).fit(rows)
    assert caplog.messages == ["2 of 3 clusters are empty: there are fewer different rows"]
    KMeans(3, verbose=True).fit(rows)
    assert "warning: 2 of 3 clusters are empty" in capsys.readouterr().out

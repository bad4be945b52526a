"""Close pairs against all distances in NumPy, with any memory; the stage's file is tested in
test_cluster.py.
"""

import numpy as np
import pytest
from clustering.rows.test_sources import write_features
from sklearn.metrics.pairwise import euclidean_distances

from ccssl_tf.clustering import near_duplicates
from ccssl_tf.clustering.pseudo_labels import PseudoLabels
from ccssl_tf.clustering.rows.sources import ArraySource
from ccssl_tf.runs.errors import InputError, Interrupted


def some_rows(dtype=np.float32, count=300, offset=0.0):
    """Rows in three clusters, of which one has no row, and one more than half; some are copies."""
    random = np.random.default_rng(0)
    rows = random.normal(size=[count, 6]) + offset
    rows[random.integers(count, size=20)] = rows[random.integers(count, size=20)]
    labels = random.choice([0, 2, 3], p=[0.2, 0.6, 0.2], size=count).astype(np.int32)
    return rows.astype(dtype), labels


def brute_force(rows, labels, limit):
    lengths = np.linalg.norm(rows[:, None].astype(np.float64) - rows.astype(np.float64), axis=-1)
    pairs = np.argwhere(np.triu((lengths <= limit) & (labels[:, None] == labels), 1))
    pairs = pairs[np.lexsort([*pairs.T[::-1], labels[pairs[:, 0]]])]
    return *pairs.T, lengths[tuple(pairs.T)]


def assert_equal(found, wanted):
    for ours, theirs in zip(found[:2], wanted[:2], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(found[2], wanted[2], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("tile_rows", [7, 50, 1024])
@pytest.mark.parametrize("limit", [0.0, 0.8, 2.0, 99.0])
def test_pairs_are_those_of_all_distances(tile_rows, limit, monkeypatch):
    """Blocks of 7 and 50 rows that end inside clusters, also where a cluster takes several."""
    monkeypatch.setattr(near_duplicates, "_TILE_ROWS", tile_rows)
    rows, labels = some_rows()
    wanted = brute_force(rows, labels, limit)
    assert len(wanted[0]) > 5
    found = near_duplicates.find_pairs(rows, labels, limit, memory_bytes=0)
    assert_equal(found, wanted)
    assert_equal(near_duplicates.find_pairs(rows, labels, limit), wanted)


@pytest.mark.parametrize("dtype, offset", [("float16", 50), ("float32", 3000)])
def test_streamed_from_a_directory(tmp_path, dtype, offset, monkeypatch):
    """Far from 0, where products have few digits left."""
    monkeypatch.setattr(near_duplicates, "_TILE_ROWS", 40)
    rows, labels = some_rows(dtype, offset=offset)
    directory = write_features(tmp_path / "features", rows, [100, 1, 150, 49], dtype)
    found = near_duplicates.find_pairs(directory, labels, 0.9, memory_bytes=0)
    assert_equal(found, brute_force(rows, labels, 0.9))


def test_the_limit_is_a_share_of_the_mean_distance(capsys):
    rows, labels = some_rows()
    centroids = np.stack([rows[labels == label].mean(0) for label in (0, 0, 2, 3)])
    distances = euclidean_distances(rows, centroids)[np.arange(300), labels]
    found = near_duplicates.find_of_split(
        "train", ArraySource(rows), labels, distances, 0.25, memory_bytes=1 << 20, should_stop=None
    )
    wanted = brute_force(rows, labels, 0.25 * distances.mean())
    assert_equal(found, wanted)
    assert f"train  {len(wanted[0])} pairs of " in capsys.readouterr().out


def test_no_pairs_too_many_and_a_stop(monkeypatch):
    rows, labels = some_rows()
    for none in near_duplicates.find_pairs(rows, np.arange(300), 99.0):
        assert none.shape == (0,)
    with pytest.raises(Interrupted):
        near_duplicates.find_pairs(rows, labels, 1.0, should_stop=lambda: True)
    monkeypatch.setattr(near_duplicates, "_MAX_PAIRS", 100)
    with pytest.raises(InputError, match="more than 100 pairs are no further than 99 "):
        near_duplicates.find_pairs(rows, labels, 99.0)


def test_the_list_is_in_the_order_of_clusters_and_indices(tmp_path):
    """Of rows that are not in the order of the images."""
    names = [b"c", b"\xff", b"a,b", b"d"]
    labels = PseudoLabels("f", np.array([2, 0, 3, 1]), np.array([1, 1, 0, 1]), np.zeros(4), names)
    pairs = np.array([0, 0, 1]), np.array([1, 3, 3]), np.array([0.5, 1 / 3, 0.0])
    near_duplicates.write(tmp_path, dict(train=labels), dict(train=pairs))
    assert (tmp_path / "near_duplicates.csv").read_text() == (
        "split,cluster,index_a,index_b,filename_a,filename_b,distance\n"
        "train,1,0,1,\\xff,d,0\n"
        "train,1,0,2,\\xff,c,0.5\n"
        "train,1,1,2,d,c,0.333333\n"
    )

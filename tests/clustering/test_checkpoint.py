import numpy as np
import pytest
from clustering.rows.test_sources import write_features
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import KMeans, estimator
from ccssl_tf.clustering.host import windows
from ccssl_tf.runs.errors import CorruptArtifactError, InputError, Interrupted


@pytest.mark.parametrize("stop_after", [1, 2, 4])
def test_a_stopped_fit_continues_to_the_same_bits(tmp_path, stop_after):
    rows = blobs(20_000, 8, 30, seed=9, spread=1.5)
    # The start has empty clusters, so that re-seeding is continued too.
    start = np.concatenate([rows[:20], np.full([10, 8], 99, np.float32)])
    whole = KMeans(30, initialization=start, max_iterations=8).fit(rows)
    passes = []

    def stop(values):
        passes.append(values)
        if len(passes) == stop_after:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint.npz"
    with pytest.raises(KeyboardInterrupt):
        KMeans(30, initialization=start, max_iterations=8).fit(
            rows, checkpoint_path=path, on_pass=stop
        )
    later = []
    resumed = KMeans(30, initialization=start, max_iterations=8).fit(
        rows, checkpoint_path=path, on_pass=later.append
    )
    assert later[0]["iteration"] == passes[-1]["iteration"]
    np.testing.assert_array_equal(resumed.centroids, whole.centroids)
    assert (resumed.inertia, resumed.iterations) == (whole.inertia, whole.iterations)


def test_a_stop_inside_a_pass_interrupts(tmp_path):
    rows = blobs(20_000, 4, 3, seed=9)
    asked = []

    def should_stop():
        asked.append(1)
        return len(asked) > 4

    with pytest.raises(Interrupted):
        KMeans(3, initialization=rows[:3]).fit(
            rows, checkpoint_path=tmp_path / "checkpoint.npz", should_stop=should_stop
        )


@pytest.mark.parametrize("algorithm", ["lloyd", "lloyd_plain"])
@pytest.mark.parametrize("kind", ["directory", "array"])
@pytest.mark.parametrize("seconds", [0, 1e9])
def test_an_interrupted_pass_continues_where_it_was(
    tmp_path, monkeypatch, algorithm, kind, seconds
):
    """Checkpoints inside a pass, by time or when it is stopped; the rows that were done are not
    read again.
    """
    monkeypatch.setattr(windows, "_KEPT_ROWS", 1000)
    monkeypatch.setattr(estimator, "chunk_rows", lambda num_examples, dim, num_clusters: 1000)
    rows = blobs(6000, 20, 30, seed=9, spread=1.5)
    settings = dict(
        initialization=rows[:30],
        algorithm=algorithm,
        max_iterations=6,
        memory_gb=1e-4,
        checkpoint_seconds=seconds,
    )
    features = (
        rows
        if kind == "array"
        else write_features(tmp_path / "features", rows, [900] * 6 + [600], "float32")
    )
    whole, whole_passes, passes, asked = KMeans(30, **settings), [], [], []
    whole.fit(features, on_pass=whole_passes.append)

    def should_stop():
        asked.append(len(passes))
        return asked.count(2) > (40 if algorithm == "lloyd" else 9)

    path = tmp_path / "checkpoint.npz"
    with pytest.raises(Interrupted):
        KMeans(30, **settings).fit(
            features, checkpoint_path=path, on_pass=passes.append, should_stop=should_stop
        )
    with np.load(path) as saved:
        done = len(saved["new_labels"])
    assert len(passes) == 2 and 0 < done < 6000
    resumed = KMeans(30, **settings).fit(features, checkpoint_path=path, on_pass=passes.append)
    np.testing.assert_array_equal(resumed.centroids, whole.centroids)
    assert (resumed.inertia, resumed.iterations) == (whole.inertia, whole.iterations)
    for name in ("iteration", "inertia", "moved", "empty_clusters"):
        assert [values[name] for values in passes] == [values[name] for values in whole_passes]
    assert passes[2]["gb_read"] <= whole_passes[2]["gb_read"]
    if algorithm == "lloyd_plain":
        assert passes[2]["computed"] == pytest.approx(1 - done / 6000)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    rows, path = blobs(100, 4, 3, seed=10), tmp_path / "checkpoint.npz"
    KMeans(3).fit(rows, checkpoint_path=path)
    KMeans(3).fit(rows, checkpoint_path=path)
    with pytest.raises(InputError, match="other features, K, start or seed"):
        KMeans(4).fit(rows, checkpoint_path=path)
    with pytest.raises(InputError, match="other features"):
        KMeans(3).fit(rows + 1, checkpoint_path=path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CorruptArtifactError, match="not a k-means checkpoint"):
        KMeans(3).fit(rows, checkpoint_path=path)

import numpy as np
import pytest
from clustering.rows.test_sources import write_features
from clustering.test_kmeans import blobs
from sklearn.cluster import MiniBatchKMeans

from ccssl_tf.clustering import KMeans
from ccssl_tf.runs.errors import InputError, Interrupted


def fit(rows, clusters, **settings):
    return KMeans(clusters, **dict(dict(algorithm="minibatch", minibatch_size=64), **settings)).fit(
        rows
    )


@pytest.mark.parametrize("seed", range(4))
def test_is_at_least_as_good_as_scikit_learn(seed):
    rows = blobs(3000, 12, 40, seed, spread=0.8)
    start = rows[np.random.default_rng(seed).choice(3000, 40, replace=False)]
    ours = fit(rows, 40, initialization=start, minibatch_size=256, seed=seed)
    theirs = MiniBatchKMeans(40, init=start, n_init=1, batch_size=256, random_state=seed).fit(rows)
    assert ours.inertia < 1.01 * theirs.inertia_
    assert ours.inertia < 1.08 * KMeans(40, initialization=start).fit(rows).inertia
    np.testing.assert_allclose(
        ours.inertia, np.sum(ours.distances(rows).astype(np.float64) ** 2), rtol=1e-5
    )
    assert ours.cluster_sizes.sum() == 3000 and ours.iterations >= 1


def test_a_batch_of_all_rows_is_lloyd():
    rows = blobs(500, 5, 6, seed=1, spread=0.8)
    start = rows[:6]
    for passes in (1, 3):
        lloyd = KMeans(6, initialization=start, max_iterations=passes).fit(rows)
        whole = fit(
            rows,
            6,
            initialization=start,
            minibatch_size=9999,
            max_iterations=passes,
            reassignment_ratio=0.0,
        )
        np.testing.assert_allclose(whole.centroids, lloyd.centroids, rtol=1e-6)


def sources_of(tmp_path, rows, kind):
    if kind == "array":
        return rows, 4.0
    return write_features(
        tmp_path / "features", rows, [700, 1, 800, 499]
    ), 4.0 if kind == "kept" else 1e-5


@pytest.mark.parametrize("kind", ["array", "kept", "streamed"])
@pytest.mark.parametrize("stop_after", [12, 28])
def test_a_stopped_fit_continues_to_the_same_bits(tmp_path, kind, stop_after):
    features, memory_gb = sources_of(tmp_path, blobs(2000, 6, 20, seed=3, spread=1.2), kind)
    settings = dict(
        minibatch_size=8,
        memory_gb=memory_gb,
        initialization="random",
        max_no_improvement=0,
        max_iterations=2,
        reassignment_ratio=0.2,
    )
    whole = fit(features, 20, **settings)
    path, asked = tmp_path / "checkpoint.npz", []

    def should_stop():
        asked.append(1)
        return len(asked) > stop_after

    kmeans = KMeans(20, algorithm="minibatch", checkpoint_seconds=0.0, **settings)
    with pytest.raises(Interrupted):
        kmeans.fit(features, checkpoint_path=path, should_stop=should_stop)
    resumed = kmeans.fit(features, checkpoint_path=path)
    np.testing.assert_array_equal(resumed.centroids, whole.centroids)
    assert (resumed.inertia, resumed.iterations) == (whole.inertia, whole.iterations)


def test_a_killed_fit_continues_from_the_last_checkpoint(tmp_path, monkeypatch):
    from ccssl_tf.clustering import checkpoint

    rows, saves, save = blobs(2000, 6, 20, seed=3, spread=1.2), [], checkpoint.save
    whole = fit(rows, 20, minibatch_size=8, max_iterations=3)

    def dying(*arguments):
        save(*arguments)
        saves.append(arguments[1].step)
        if len(saves) == 14:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint.npz"
    kmeans = KMeans(
        20, algorithm="minibatch", minibatch_size=8, max_iterations=3, checkpoint_seconds=0.0
    )
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoint, "save", dying)
        kmeans.fit(rows, checkpoint_path=path)
    assert saves[-1] == 13 * 16
    np.testing.assert_array_equal(kmeans.fit(rows, checkpoint_path=path).centroids, whole.centroids)


@pytest.mark.parametrize(
    "reason, settings",
    [
        ("did not lower", {}),
        ("fell by no more", dict(tolerance=0.5)),
        ("most allowed", dict(max_iterations=1)),
    ],
)
def test_says_why_it_stops(reason, settings, told):
    fit(blobs(1000, 4, 10, seed=2, spread=1.0), 10, **settings)
    assert reason in told()


def test_fewer_different_rows_than_clusters(told):
    rows = np.tile(np.random.default_rng(6).normal(size=(5, 7)).astype(np.float32), [40, 1])
    for how in ("k-means++", "random", "k-means||"):
        kmeans = fit(rows, 10, initialization=how)
        assert np.isfinite(kmeans.centroids).all()
        assert kmeans.inertia < 1e-9 and kmeans.empty_clusters == 5
        assert "warning: 5 of 10 clusters are empty" in told()


@pytest.mark.parametrize(
    "settings", [dict(minibatch_size=0), dict(max_no_improvement=-1), dict(reassignment_ratio=1.0)]
)
def test_refuses(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        KMeans(2, algorithm="minibatch", **settings).settings()

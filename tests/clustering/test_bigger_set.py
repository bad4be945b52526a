"""Centroids of a small set label a far bigger one that is streamed from shards (Table 2 labels
other data sets than were clustered).
"""

import tracemalloc

import numpy as np
import pytest
from clustering.rows.test_sources import write_features
from clustering.test_kmeans import blobs

from ccssl_tf.clustering import KMeans, cluster_report
from ccssl_tf.clustering.rows import sources

DIM, CLUSTERS, FITTED, ASSIGNED = 64, 12, 1500, 150_000


@pytest.fixture(scope="module")
def bigger(tmp_path_factory):
    rows = blobs(ASSIGNED, DIM, CLUSTERS, seed=4, spread=0.8)
    path = tmp_path_factory.mktemp("bigger") / "features"
    return rows, sources.DirectorySource(
        write_features(path, rows, [20_000] * 7 + [10_000], block=250)
    )


@pytest.mark.parametrize(
    "options",
    [{}, dict(pca_dim=20, whiten=True, l2_normalize=True)],
    ids=["as they are", "preprocessed"],
)
def test_a_hundred_times_as_many_rows_are_assigned(bigger, options):
    rows, source = bigger
    kmeans = KMeans(CLUSTERS, memory_gb=0.001, **options).fit(
        blobs(FITTED, DIM, CLUSTERS, seed=4, spread=0.8)
    )
    kmeans.assign(source)
    tracemalloc.start()
    try:
        labels, distances = kmeans.assign(source)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Chunks, labels and distances; not the rows.
    assert peak < source.num_bytes / 2
    transformed = kmeans.preprocessing.transform(rows) if options else rows
    exact = np.empty([ASSIGNED, CLUSTERS])
    for number, centroid in enumerate(kmeans.centroids):
        exact[:, number] = np.linalg.norm(transformed - centroid, axis=1)
    np.testing.assert_allclose(exact[np.arange(ASSIGNED), labels], exact.min(axis=1), rtol=1e-4)
    np.testing.assert_allclose(distances, exact.min(axis=1), rtol=1e-4)
    nearest = cluster_report.nearest_members(labels, distances, CLUSTERS)
    table = cluster_report.nearest_table(nearest, labels, distances, source.indices(), None)
    for number, row in enumerate(table):
        members = np.flatnonzero(labels == number)
        assert row["size"] == len(members)
        found = [item["index"] for item in row["nearest"]]
        assert len(found) == min(cluster_report.NEAREST, len(members)) and set(found) <= set(
            members.tolist()
        )
        np.testing.assert_allclose(distances[found], np.sort(distances[members])[: len(found)])
        np.testing.assert_allclose(
            [item["distance"] for item in row["nearest"]], distances[found], rtol=1e-5
        )

import numpy as np
import pytest
from conftest import jpeg_of, smooth_picture

from ccssl_tf.clustering import cluster_report


def test_pictured_clusters_span_the_ranks():
    labels = np.repeat(np.arange(30), 12)
    distances = np.repeat(np.random.default_rng(0).permutation(30), 12).astype(float)
    nearest = cluster_report.nearest_members(labels, distances, 31)
    assert [len(rows) for rows in nearest] == [11] * 30 + [0]
    chosen = cluster_report.pictured_clusters(nearest, distances)
    tightness = [distances[nearest[number][0]] for number in chosen]
    assert (
        len(chosen) == 12
        and tightness == sorted(tightness)
        and (tightness[0], tightness[-1]) == (0, 29)
    )
    few = cluster_report.nearest_members(labels[:5], distances[:5], 3)
    assert cluster_report.pictured_clusters(few, distances[:5]) == [0]


def test_members_are_in_order_of_their_distance():
    labels, distances = np.array([2, 0, 2, 2, 0]), np.array([3.0, 1.0, 1.0, 2.0, 0.5])
    members = cluster_report.members_of(labels, distances, 3)
    assert [rows.tolist() for rows in members] == [[4, 1], [], [2, 3, 0]]


def test_a_thumbnail_keeps_its_proportions_and_never_grows():
    encoded = jpeg_of(smooth_picture(0, 300, 200))
    assert cluster_report.thumbnail(encoded, 60).size == (40, 60)
    assert cluster_report.thumbnail(encoded, 900).size == (200, 300)


def test_label_metrics_leave_out_images_without_a_class():
    labels, classes = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 1, -1, -1])
    assert cluster_report.label_metrics(labels, classes) == pytest.approx(
        dict(nmi=1, ari=1, purity=1)
    )
    assert cluster_report.label_metrics(labels, np.full(5, -1)) == {}

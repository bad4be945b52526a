"""The table of clusterings, and the pictures of those that no student shows."""

from ccssl_tf.reporting import cluster_section
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise


def test_pictures_are_shown_here_only_without_a_student(runs):
    runs.method()
    inputs = dict(features_dir="features")
    metrics = dict(num_clusters=5, num_examples=10)
    runs.add(
        "alone",
        "ccssl_tf.cluster",
        inputs=inputs,
        metrics=metrics,
        output="manifest.json",
        pictures=["nearest_images"],
    )
    run_set = RunSet(runs.root)
    made = cluster_section.section(
        run_set, summarise(run_set), dict(sizes={"alone": b"\x89PNG", "clusters": b"\x89PNG"})
    )
    assert (
        made.count("Images nearest to cluster centres") == 1
        and "run alone." in made
        and "run clusters." not in made
    )
    assert made.count("Histogram of cluster sizes") == 1
    for fact in (
        "0.234 (train)",
        "0.345 (train)",
        "1 / 4.5 / 9",
        "Jigsaw++ (K=5)",
        "Jigsaw++ (K=20)",
    ):
        assert fact in made, fact


def test_no_clusters_no_section(runs):
    runs.probe("probe", [0.3])
    run_set = RunSet(runs.root)
    assert cluster_section.section(run_set, summarise(run_set), {}) == ""


def test_counts_stay_whole_and_means_are_short():
    numbers = {
        value: cluster_section.number(dict(mean=value))
        for value in (1234.0, 12.0, 4.5, 0.23456, 123456.7)
    }
    assert numbers == {
        1234.0: "1,234",
        12.0: "12",
        4.5: "4.5",
        0.23456: "0.235",
        123456.7: "123,457",
    }
    assert cluster_section.number(None) == "-"

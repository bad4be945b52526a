"""The table of clusterings, and the pictures of those that no student shows."""

from ccssl_tf.reporting import cluster_section, page
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise


def test_pictures_are_shown_here_only_without_a_student(runs):
    runs.method()
    runs.add(
        "alone",
        "ccssl_tf.cluster",
        inputs=dict(features_dir="features"),
        metrics=dict(num_clusters=5, num_examples=10),
        output="manifest.json",
        pictures=["nearest_images"],
    )
    run_set = RunSet(runs.root)
    drawings = dict(sizes={"alone": b"\x89PNG", "clusters": b"\x89PNG"})
    section = cluster_section.section(run_set, summarise(run_set), drawings)
    assert [figure.alternative for figure in section["figures"]] == [
        "Histogram of cluster sizes, features of Jigsaw++ (K=5)",
        "Images nearest to cluster centres, features of Jigsaw++ (K=5)",
    ]
    assert section["figures"][1].light.startswith("data:image/webp;base64,")
    made = page.render("clusters", section=section)
    assert "NMI (normalised mutual information" in made and "(K=20)." not in made
    assert made.index("NMI (normalised") < made.index("<th>NMI</th>")
    for fact in (
        "0.234 (train)",
        "0.345 (train)",
        "1 / 4.5 / 9",
        "Jigsaw++ (K=5)",
        "Jigsaw++ (K=20)",
    ):
        assert fact in made, fact


def test_without_classes_there_is_no_agreement(runs):
    metrics = dict(num_clusters=5, splits=dict(train=dict(num_examples=9)))
    runs.add("clusters", "ccssl_tf.cluster", metrics=metrics, output="manifest.json")
    run_set = RunSet(runs.root)
    section = cluster_section.section(run_set, summarise(run_set), {})
    assert not section["has_agreement"] and section["figures"] == []
    assert "NMI" not in page.render("clusters", section=section)


def test_no_clusters_no_section(runs):
    runs.probe("probe", [0.3])
    run_set = RunSet(runs.root)
    assert cluster_section.section(run_set, summarise(run_set), {}) is None

"""A student's lineage follows the runs' records, and its images are named by their manifests."""

import json

import pytest

from ccssl_tf.reporting import transfers
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.runs.files import fingerprint_of


def cross_domain(runs, sources=("imagenet", "places205", "voc2007")):
    """Writes a pretext task on a, clusters of b, pseudo-labels of c and a student on c."""
    for name, source in zip("abc", sources, strict=True):
        runs.add(f"data_{name}", f"data_prep.image_folder --source=x --output_dir=data_{name}")
        fingerprint = fingerprint_of(f"data_{name}")
        (runs.root / f"data_{name}/manifest.json").write_text(
            json.dumps(dict(fingerprint=fingerprint, info=dict(source=source)))
        )
    runs.add(
        "pretext",
        "ccssl_tf.train --task=jigsaw_pp --backbone=vgg16",
        inputs=dict(data_dir="data_a"),
        output="backbone.json",
    )
    for name, of, split in (
        ("features_b", "b", "train"),
        ("features_c_val", "c", "val"),
        ("features_c", "c", "train"),
    ):
        runs.add(
            name,
            f"ccssl_tf.extract --endpoint=conv4_3 --pool_grid=4 --pooling=max --split={split}",
            inputs=dict(data_dir=f"data_{of}", init_backbone="pretext"),
            metrics=dict(dim=8192),
            output="manifest.json",
        )
    inputs = {
        "features_dir": "features_b",
        "assign_dir": "features_c_val",
        "assign_dir[1]": "features_c",
    }
    runs.add(
        "clusters",
        "ccssl_tf.cluster --num_clusters=30",
        inputs=inputs,
        metrics=dict(num_clusters=30),
        output="manifest.json",
    )
    inputs = dict(data_dir="data_c", pseudo_labels="clusters")
    runs.add(
        "student",
        "ccssl_tf.train --task=cluster_classification --backbone=alexnet",
        inputs=inputs,
        output="backbone.json",
    )
    runs.probe("probe", [0.3], init="student", data="data_c")
    return RunSet(runs.root)


def named(run_set, name):
    return next(run for run in run_set.runs if run.name == name)


@pytest.mark.parametrize("name", ["student", "probe"])
def test_every_stage_of_a_transfer_is_found(runs, name):
    run_set = cross_domain(runs)
    transfer = transfers.transfer_of(run_set, named(run_set, name))
    stages = (
        transfer.student,
        transfer.clusters,
        transfer.features,
        transfer.labelled,
        transfer.teacher,
    )
    assert [run.name for run in stages] == [
        "student",
        "clusters",
        "features_b",
        "features_c",
        "pretext",
    ]
    assert transfers.describe_features(transfer) == "conv4_3, 4x4 max, 8,192-D"


def test_each_role_names_its_images(runs):
    run_set = cross_domain(runs)
    used = transfers.images_used(run_set, transfers.transfer_of(run_set, named(run_set, "student")))
    assert used == {
        "pretext": "imagenet",
        "clustering": "places205",
        "pseudo-labels": "voc2007",
        "training": "voc2007",
    }
    assert (
        transfers.describe_images(used)
        == "pretext: imagenet, clustering: places205, pseudo-labels: voc2007"
    )
    assert transfers.describe_images(dict.fromkeys(used, "imagenet")) == "imagenet"
    assert transfers.describe_images({}) == ""


def test_images_of_one_source_are_told_apart_by_their_directories(runs):
    run_set = cross_domain(runs, sources=("imagenet", "image_folder", "image_folder"))
    used = transfers.images_used(run_set, transfers.transfer_of(run_set, named(run_set, "student")))
    assert used["pretext"] == "imagenet"
    assert (
        used["clustering"] == "image_folder (runs/data_b)"
        and used["training"] == "image_folder (runs/data_c)"
    )


def test_images_that_are_gone_are_called_after_their_directory(runs):
    cross_domain(runs)
    (runs.root / "data_b/manifest.json").unlink()
    run_set = RunSet(runs.root)
    used = transfers.images_used(run_set, transfers.transfer_of(run_set, named(run_set, "student")))
    assert used["clustering"] == "data_b" and used["pretext"] == "imagenet"


def test_clusters_without_a_student_and_runs_that_are_no_transfer(runs):
    run_set = cross_domain(runs)
    transfer = transfers.transfer_of(run_set, named(run_set, "clusters"))
    assert transfer.student is None and transfer.teacher.name == "pretext"
    assert transfers.transfer_of(run_set, named(run_set, "pretext")) is None
    assert transfers.transfer_of(run_set, None) is None
    assert transfers.qualifiers(run_set, named(run_set, "pretext")) == ["", "", "pretext"]
    assert transfers.qualifiers(run_set, named(run_set, "probe"))[0] == "K=30"


def test_a_distilled_student_has_a_teacher_and_no_clusters(runs):
    cross_domain(runs)
    inputs = dict(data_dir="data_c", teacher_backbone="pretext")
    runs.add(
        "regression",
        "ccssl_tf.train --task=feature_regression --backbone=alexnet",
        inputs=inputs,
        output="backbone.json",
    )
    run_set = RunSet(runs.root)
    transfer = transfers.transfer_of(run_set, named(run_set, "regression"))
    assert transfer.teacher.name == "pretext" and transfer.clusters is None
    assert transfers.images_used(run_set, transfer) == {
        "pretext": "imagenet",
        "training": "voc2007",
    }


def test_features_of_no_network(runs):
    runs.add(
        "hog", "ccssl_tf.extract --extractor=hog", metrics=dict(dim=1000), output="manifest.json"
    )
    runs.add(
        "clusters", "ccssl_tf.cluster", inputs=dict(features_dir="hog"), output="manifest.json"
    )
    run_set = RunSet(runs.root)
    transfer = transfers.transfer_of(run_set, named(run_set, "clusters"))
    assert transfer.teacher is None and transfer.labelled is transfer.features
    assert transfers.describe_features(transfer) == "hog, 1,000-D"


def test_cluster_sizes_are_read_where_they_are(runs):
    run_set = cross_domain(runs)
    clusters = named(run_set, "clusters")
    assert transfers.cluster_sizes(clusters) == {}
    rows = [dict(cluster=0, size=4, nearest=[]), dict(cluster=1, size=0, nearest=[])]
    (clusters.path / "nearest.json").write_text(json.dumps(dict(train=rows, val=rows[::-1])))
    assert transfers.cluster_sizes(clusters) == dict(train=[4, 0], val=[0, 4])

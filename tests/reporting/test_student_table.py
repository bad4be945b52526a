"""The table of students: one row each, by teacher and number of clusters."""

from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.student_table import clusters_of, layers_of, probes_of, student_table
from ccssl_tf.reporting.summary import summarise


def test_one_table_over_the_number_of_clusters(students):
    head, rows = student_table(summarise(students(100, 7)))
    assert head == [
        "",
        "teacher",
        "K",
        "purity",
        "NMI",
        "train",
        "held out",
        "conv1",
        "conv2",
        "conv3",
        "conv4",
        "conv5",
    ]
    assert [row[:9] for row in rows if row[2] == "100"] == [
        ["CC+Jigsaw++ (K=100)", "Jigsaw++", "100", "0.100", "0.300", "70.0", "40.0", "20.0", "40.0"]
    ]
    assert rows[-1][2] == "100", "by number, not by name"


def test_a_student_without_held_out_images_is_in_the_table(runs, students):
    students(100)
    command = (
        "ccssl_tf.train --task=cluster_classification --backbone=alexnet --seed=0 "
        "--width_multiplier=0.5"
    )
    metrics = dict(
        step=50, facts=dict(chance=dict(train=0.1)), training=dict(accuracy=0.7), evaluation={}
    )
    inputs = dict(data_dir="data", pseudo_labels="num_clusters_100/clusters")
    runs.add("only_train", command, inputs=inputs, metrics=metrics, output="backbone.json")
    _, rows = student_table(summarise(RunSet(runs.root)))
    assert [row[5:7] for row in rows if "only_train" in row[0]] == [["70.0", "-"]]


def test_a_student_of_activations_has_no_clusters(runs):
    runs.method()
    runs.add(
        "regression",
        "ccssl_tf.train --task=feature_regression --backbone=alexnet",
        inputs=dict(data_dir="data", teacher_backbone="jigsaw_pp"),
        metrics=dict(step=9, training=dict(loss=1.0), evaluation=dict(loss=1.5)),
        output="backbone.json",
    )
    summary = summarise(RunSet(runs.root))
    _, rows = student_table(summary)
    assert [row[:7] for row in rows if row[0] == "Feature regression"] == [
        ["Feature regression", "Jigsaw++", "-", "-", "-", "-", "-"]
    ]
    clusters = {entry["student"]: clusters_of(summary, entry) for entry in summary["transfers"]}
    assert clusters["Feature regression"] is None
    assert clusters["CC+Jigsaw++"]["network"] == "Jigsaw++"


def test_layers_are_those_that_were_probed(students):
    summary = summarise(students(100))
    (transfer,) = [entry for entry in summary["transfers"] if entry["num_clusters"] == 100]
    ((task, probe),) = probes_of(summary, transfer, "student")
    assert layers_of(summary, task, [probe]) == ["conv1", "conv2"]
    assert layers_of(summary, "nonlinear_probe", [probe]) == []

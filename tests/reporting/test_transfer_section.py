"""The section shows each student beside its teacher, and all of them in one table."""

import re

from ccssl_tf.reporting import page, transfer_section
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise


def html(run_set, **drawings):
    section = transfer_section.section(run_set, summarise(run_set), drawings)
    return page.render("transfers", section=section)


def test_several_students_are_in_one_table(students):
    made = html(students(100, 7))
    assert "probes of the student, in %" in made
    assert "<tr><th>CC+Jigsaw++ (K=7)<small>data</small></th><td>Jigsaw++</td><td>7</td>" in made


def test_one_student_needs_no_table_of_all(runs):
    runs.method()
    assert "probes of the student, in %" not in html(RunSet(runs.root))


def test_each_student_has_its_facts_pictures_and_probes(students):
    made = html(
        students(100),
        students={"num_clusters_100/cc": b"\x89PNG curves"},
        sizes={"num_clusters_100/clusters": b"\x89PNG sizes"},
    )
    last = made.split("<h3>")[-1]
    for fact in (
        "CC+Jigsaw++ (K=100)",
        "pretext: data, clustering: unknown",
        "K = 100",
        "1 to 9 images, median 4.5",
        "1 empty",
    ):
        assert (fact in last) == (fact != "pretext: data, clustering: unknown"), fact
    for fact in (
        "as uneven as 17 equal ones",
        "NMI 0.300, ARI 0.100, purity 0.100 (val)",
        "70.0% right on training batches",
        "chance 10.0%",
    ):
        assert fact in last, fact
    assert last.count("<img ") == 2, "curves and histogram; no nearest images were drawn"
    rows = [re.sub("<[^>]*>", " ", row).split() for row in re.findall("<tr>.*?</tr>", last)]
    assert ["random", "random", "28.1", "29.1", "31.0", "32.0", "30.0"] in rows
    assert ["Jigsaw++", "teacher", "27.1", "34.1", "41.0", "39.0", "33.0"] in rows
    assert ["CC+Jigsaw++", "(K=100)", "student", "20.0", "40.0"] in rows


def test_clusters_of_two_students_are_pictured_once(runs, students):
    students(100)
    metrics = dict(step=50, evaluation=dict(accuracy=0.1), training=dict(accuracy=0.1))
    inputs = dict(data_dir="data", pseudo_labels="num_clusters_100/clusters")
    command = "ccssl_tf.train --task=cluster_classification --backbone=alexnet"
    runs.add("control", command, inputs=inputs, metrics=metrics, output="backbone.json")
    with open(runs.root / "control/flags.txt", "a") as file:
        file.write("--shuffle_labels\n")
    made = html(RunSet(runs.root), sizes={"num_clusters_100/clusters": b"\x89PNG"})
    assert made.count("Histogram of cluster sizes") == 1
    control = made.split("<h3>CC+Jigsaw++, shuffled labels</h3>")[1].split("<h3>")[0]
    assert "pictures: see CC+Jigsaw++ (K=100)" in control and "<img" not in control


def test_layers_of_other_names_get_a_table_of_their_own(runs):
    runs.method(pretext_backbone="vgg16")
    evaluation = {"accuracy/conv1_1": 0.5, "accuracy/conv4_3": 0.6}
    runs.add(
        "probe_vgg",
        "ccssl_tf.train --task=linear_probe --backbone=vgg16",
        inputs=dict(init_backbone="jigsaw_pp", data_dir="data"),
        metrics=dict(evaluation=evaluation),
    )
    made = html(RunSet(runs.root))
    assert "<th>linear probe</th><th>conv1_1</th><th>conv4_3</th>" in made
    layers = ("linear probe", "conv1", "conv2", "conv3", "conv4", "conv5")
    assert "".join(f"<th>{layer}</th>" for layer in layers) in made


def test_a_distilled_student_is_shown_without_clusters(runs):
    runs.method()
    metrics = dict(step=9, training=dict(loss=1.0), evaluation=dict(loss=1.5))
    inputs = dict(data_dir="data", teacher_backbone="jigsaw_pp")
    command = "ccssl_tf.train --task=feature_regression --backbone=alexnet"
    runs.add("regression", command, inputs=inputs, metrics=metrics, output="backbone.json")
    runs.probe("probe_regression", [0.2], init="regression")
    made = html(RunSet(runs.root))
    facts = made.split("<h3>Feature regression</h3>")[1].split("<h3>")[0]
    assert "<dt>Teacher</dt><dd>Jigsaw++</dd>" in facts and "K = " not in facts


def test_nobody_was_taught(runs):
    runs.probe("probe", [0.3])
    run_set = RunSet(runs.root)
    assert transfer_section.section(run_set, summarise(run_set), {}) is None

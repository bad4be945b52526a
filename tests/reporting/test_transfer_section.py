"""The section shows each student beside its teacher, and all of them in one table."""

import re

from ccssl_tf.reporting import transfer_section
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise


def students(runs, counts=(100, 7)):
    """Writes one teacher and a student for each number of clusters."""
    runs.method()
    for count in counts:
        root = f"num_clusters_{count}/"
        metrics = dict(
            num_clusters=count,
            empty_clusters=1,
            cluster_size=dict(min=1, median=4.5, max=9, perplexity=17.2),
        )
        metrics["splits"] = dict(val=dict(nmi=0.3, ari=0.1, purity=count / 1000, num_examples=9))
        inputs = dict(features_dir="features")
        runs.add(
            f"{root}clusters",
            f"ccssl_tf.cluster --num_clusters={count}",
            inputs=inputs,
            metrics=metrics,
            output="manifest.json",
        )
        metrics = dict(
            step=50,
            facts=dict(chance=dict(val=0.1)),
            training=dict(accuracy=0.7),
            evaluation=dict(accuracy=0.4, loss=2.0),
        )
        inputs = dict(data_dir="data", pseudo_labels=f"{root}clusters")
        command = "ccssl_tf.train --task=cluster_classification --backbone=alexnet"
        runs.add(f"{root}cc", command, inputs=inputs, metrics=metrics, output="backbone.json")
        runs.probe(f"{root}probe", [0.2, 0.3 + count / 1000], init=f"{root}cc")
    return RunSet(runs.root)


def test_one_table_over_the_number_of_clusters(runs):
    head, rows = transfer_section.overview(summarise(students(runs)))
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


def test_a_student_without_held_out_images_is_in_the_table(runs):
    students(runs, counts=(100,))
    command = (
        "ccssl_tf.train --task=cluster_classification --backbone=alexnet --seed=0 "
        "--width_multiplier=0.5"
    )
    metrics = dict(
        step=50, facts=dict(chance=dict(train=0.1)), training=dict(accuracy=0.7), evaluation={}
    )
    inputs = dict(data_dir="data", pseudo_labels="num_clusters_100/clusters")
    runs.add("only_train", command, inputs=inputs, metrics=metrics, output="backbone.json")
    _, rows = transfer_section.overview(summarise(RunSet(runs.root)))
    assert [row[5:7] for row in rows if "only_train" in row[0]] == [["70.0", "-"]]


def test_the_overview_for_terminals_has_straight_columns(runs):
    summary = summarise(students(runs))
    lines = transfer_section.format_overview(summary).splitlines()
    assert len(lines) == 2 + 3 and lines[0].startswith("transfers: ")
    assert {line.index("Jigsaw++", 20) for line in lines[2:]} == {lines[1].index("teacher")}


def test_one_student_needs_no_overview(runs):
    runs.method()
    summary = summarise(RunSet(runs.root))
    assert transfer_section.format_overview(summary) == "" and len(summary["transfers"]) == 1


def test_each_student_has_its_facts_pictures_and_probes(runs):
    run_set = students(runs, counts=(100,))
    summary = summarise(run_set)
    drawings = dict(
        students={"num_clusters_100/cc": b"\x89PNG curves"},
        sizes={"num_clusters_100/clusters": b"\x89PNG sizes"},
    )
    made = transfer_section.section(run_set, summary, drawings)
    own = made.split("<h3>")[-1]
    for fact in (
        "CC+Jigsaw++ (K=100)",
        "pretext: data, clustering: unknown",
        "K = 100",
        "1 to 9 images, median 4.5",
        "1 empty",
    ):
        assert (fact in own) == (fact != "pretext: data, clustering: unknown"), fact
    for fact in (
        "as uneven as 17 equal ones",
        "NMI 0.300, ARI 0.100, purity 0.100 (val)",
        "70.0% right on training batches",
        "chance 10.0%",
    ):
        assert fact in own, fact
    assert own.count("<img ") == 2, "curves and histogram; no nearest images were drawn"
    rows = [re.sub("<[^>]*>", " ", row).split() for row in re.findall("<tr>.*?</tr>", own)]
    assert ["random", "random", "28.1", "29.1", "31.0", "32.0", "30.0"] in rows
    assert ["Jigsaw++", "teacher", "27.1", "34.1", "41.0", "39.0", "33.0"] in rows
    assert ["CC+Jigsaw++", "(K=100)", "student", "20.0", "40.0"] in rows


def test_clusters_of_two_students_are_pictured_once(runs):
    students(runs, counts=(100,))
    metrics = dict(step=50, evaluation=dict(accuracy=0.1), training=dict(accuracy=0.1))
    inputs = dict(data_dir="data", pseudo_labels="num_clusters_100/clusters")
    command = "ccssl_tf.train --task=cluster_classification --backbone=alexnet"
    runs.add("control", command, inputs=inputs, metrics=metrics, output="backbone.json")
    with open(runs.root / "control/flags.txt", "a") as file:
        file.write("--shuffle_labels\n")
    run_set = RunSet(runs.root)
    made = transfer_section.section(
        run_set, summarise(run_set), dict(sizes={"num_clusters_100/clusters": b"\x89PNG"})
    )
    assert made.count("Histogram of cluster sizes") == 1
    own = made.split("<h3>CC+Jigsaw++, shuffled labels</h3>")[1].split("<h3>")[0]
    assert "pictures: see CC+Jigsaw++ (K=100)" in own and "<img" not in own


def test_layers_of_other_names_get_a_table_of_their_own(runs):
    runs.method(pretext_backbone="vgg16")
    evaluation = {"accuracy/conv1_1": 0.5, "accuracy/conv4_3": 0.6}
    runs.add(
        "probe_vgg",
        "ccssl_tf.train --task=linear_probe --backbone=vgg16",
        inputs=dict(init_backbone="jigsaw_pp", data_dir="data"),
        metrics=dict(evaluation=evaluation),
    )
    run_set = RunSet(runs.root)
    made = transfer_section.section(run_set, summarise(run_set), {})
    assert "<th>linear probe</th><th>conv1_1</th><th>conv4_3</th>" in made
    assert (
        "<th>linear "
        "probe</th><th>conv1</th><th>conv2</th><th>conv3</th><th>conv4</th><th>conv5</th>" in made
    )


def test_a_distilled_student_is_shown_without_clusters(runs):
    runs.method()
    metrics = dict(step=9, training=dict(loss=1.0), evaluation=dict(loss=1.5))
    inputs = dict(data_dir="data", teacher_backbone="jigsaw_pp")
    command = "ccssl_tf.train --task=feature_regression --backbone=alexnet"
    runs.add("regression", command, inputs=inputs, metrics=metrics, output="backbone.json")
    runs.probe("probe_regression", [0.2], init="regression")
    run_set = RunSet(runs.root)
    summary = summarise(run_set)
    made = transfer_section.section(run_set, summary, {})
    assert (
        "<h3>Feature regression</h3>" in made
        and "K = " not in made.split("<h3>Feature regression</h3>")[1].split("<h3>")[0]
    )
    head, rows = transfer_section.overview(summary)
    assert [row[:7] for row in rows if row[0] == "Feature regression"] == [
        ["Feature regression", "Jigsaw++", "-", "-", "-", "-", "-"]
    ]


def test_nobody_was_taught(runs):
    runs.probe("probe", [0.3])
    run_set = RunSet(runs.root)
    assert transfer_section.section(run_set, summarise(run_set), {}) == ""

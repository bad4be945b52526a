"""Numbers are grouped by experiment, and seeds become ranges."""

import json
import statistics

import pytest

from ccssl_tf.reporting import summary as summary_lib
from ccssl_tf.reporting.runs import RunSet


def test_one_seed(runs):
    runs.method()
    summary = summary_lib.summarise(RunSet(runs.root))
    probes = summary["probes"]["linear_probe"]
    assert probes["endpoints"] == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert [entry["network"] for entry in probes["networks"]] == [
        "random",
        "Jigsaw++",
        "CC+Jigsaw++",
    ]
    assert probes["networks"][1]["evaluation"]["accuracy/conv3"] == dict(
        mean=0.41, min=0.41, max=0.41, std=0, values=[0.41]
    )
    assert [
        (entry["task"], entry["network"], entry["chance"]) for entry in summary["training"]
    ] == [
        ("jigsaw_pp", "Jigsaw++", 0.01),
        ("cluster_classification", "CC+Jigsaw++", 0.1),
    ]
    clusters = summary["clusters"][0]
    assert clusters["network"] == "Jigsaw++"
    assert {
        name: clusters["evaluation"][name]["mean"]
        for name in ("nmi/train", "max/cluster_size", "inertia")
    } == {
        "nmi/train": 0.234,
        "max/cluster_size": 9,
        "inertia": 1234.5,
    }


def test_seeds_are_aggregated(runs):
    shifts = [0.0, 0.03, -0.02]
    for seed, shift in enumerate(shifts):
        runs.method(f"seed{seed}/", seed=seed, shift=shift)
    summary = summary_lib.summarise(RunSet(runs.root))
    networks = {entry["network"]: entry for entry in summary["probes"]["linear_probe"]["networks"]}
    assert list(networks) == ["random", "Jigsaw++", "CC+Jigsaw++"]
    values = [0.36 + shift for shift in shifts]
    entry = networks["CC+Jigsaw++"]
    assert entry["seeds"] == [0, 1, 2] and entry["runs"] == [
        f"seed{seed}/probe_cc" for seed in range(3)
    ]
    assert entry["evaluation"]["accuracy/conv3"]["mean"] == pytest.approx(statistics.mean(values))
    assert entry["evaluation"]["accuracy/conv3"]["std"] == pytest.approx(statistics.stdev(values))
    assert (
        entry["evaluation"]["accuracy/conv3"]["min"],
        entry["evaluation"]["accuracy/conv3"]["max"],
    ) == (min(values), max(values))
    assert summary["training"][0]["evaluation"]["accuracy"]["max"] == pytest.approx(0.203)


def test_equal_seeds_have_their_mean_and_no_spread(runs):
    assert (0.35 + 0.35 + 0.35) / 3 < 0.35
    for seed in range(3):
        runs.probe(f"seed{seed}", [0.35], seed=seed)
    (entry,) = summary_lib.summarise(RunSet(runs.root))["probes"]["linear_probe"]["networks"]
    assert entry["evaluation"]["accuracy/conv1"] == dict(
        mean=0.35, min=0.35, max=0.35, std=0, values=[0.35] * 3
    )


def test_experiments_that_differ_are_told_apart(runs):
    runs.method("a/")
    runs.method("b/")
    flags = runs.root / "b/jigsaw_pp/flags.txt"
    flags.write_text(flags.read_text() + "--train_steps=9\n")
    networks = summary_lib.summarise(RunSet(runs.root))["probes"]["linear_probe"]["networks"]
    assert [entry["network"] for entry in networks] == [
        "random",
        "Jigsaw++ (a/probe_jigsaw_pp)",
        "Jigsaw++ (b/probe_jigsaw_pp)",
        "CC+Jigsaw++ (a/probe_cc)",
        "CC+Jigsaw++ (b/probe_cc)",
    ]
    assert networks[0]["runs"] == ["a/probe_random", "b/probe_random"], (
        "the random networks are the same experiment"
    )


def test_it_depends_on_the_runs_alone(runs, tmp_path):
    runs.method()
    first = json.dumps(summary_lib.summarise(RunSet(runs.root)))
    (runs.root / "jigsaw_pp/timing.json").write_text(json.dumps(dict(seconds=99)))
    runs.root.rename(tmp_path / "moved")
    assert json.dumps(summary_lib.summarise(RunSet(tmp_path / "moved"))) == first
    assert str(tmp_path) not in first


def test_vgg_layers_are_in_numeric_order(runs):
    evaluation = {
        f"accuracy/{name}": 0.5 for name in ("conv10_1", "conv2_2", "conv2_10", "conv1_2")
    }
    runs.add(
        "probe",
        "ccssl_tf.train --task=linear_probe --backbone=vgg16",
        metrics=dict(evaluation=evaluation),
    )
    endpoints = summary_lib.summarise(RunSet(runs.root))["probes"]["linear_probe"]["endpoints"]
    assert endpoints == ["conv1_2", "conv2_2", "conv2_10", "conv10_1"]


def test_students_that_differ_in_their_clusters_are_called_by_them(runs):
    runs.method()
    for count in (5, 400):
        inputs = dict(features_dir="features")
        runs.add(
            f"{count}/clusters",
            f"ccssl_tf.cluster --num_clusters={count}",
            inputs=inputs,
            metrics=dict(num_clusters=count),
            output="manifest.json",
        )
        command = "ccssl_tf.train --task=cluster_classification --backbone=alexnet"
        metrics = dict(evaluation=dict(accuracy=0.5), training=dict(accuracy=0.6, loss=1.5))
        runs.add(
            f"{count}/cc",
            command,
            inputs=dict(pseudo_labels=f"{count}/clusters"),
            metrics=metrics,
            output="backbone.json",
        )
        runs.probe(f"{count}/probe", [0.3], init=f"{count}/cc")
    summary = summary_lib.summarise(RunSet(runs.root))
    names = ["CC+Jigsaw++ (K=5)", "CC+Jigsaw++ (K=20)", "CC+Jigsaw++ (K=400)"]
    assert [entry["network"] for entry in summary["probes"]["linear_probe"]["networks"]] == [
        "random",
        "Jigsaw++",
        *names,
    ]
    assert [entry["student"] for entry in summary["transfers"]] == names
    assert [entry["clusters"] for entry in summary["transfers"]] == [
        name.removeprefix("CC+") for name in names
    ]
    last = summary["transfers"][2]
    assert last["probes"] == dict(
        student=[["linear_probe", names[2]]],
        teacher=[["linear_probe", "Jigsaw++"]],
        random=[["linear_probe", "random"]],
    )
    assert (last["teacher"], last["num_clusters"], last["runs"]) == ("Jigsaw++", 400, ["400/cc"])
    training = next(entry for entry in summary["training"] if entry["network"] == names[2])
    assert training["training"]["accuracy"]["mean"] == 0.6
    assert not any("qualifiers" in entry for entry in (*summary["training"], *summary["clusters"]))


def test_the_layers_of_nonlinear_probes_are_one_row(runs):
    runs.method()
    for seed in (0, 1):
        for place, layer in enumerate(("conv1", "conv3")):
            runs.add(
                f"frozen{seed}_{layer}",
                f"ccssl_tf.train --task=nonlinear_probe --frozen_until={layer}",
                inputs=dict(data_dir="data", init_backbone="cc"),
                flags=dict(seed=str(seed)),
                metrics=dict(
                    evaluation={f"accuracy/{layer}": 0.5 - 0.1 * place + 0.02 * seed, "loss": 1.0}
                ),
            )
    summary = summary_lib.summarise(RunSet(runs.root))
    table = summary["probes"]["nonlinear_probe"]
    assert table["endpoints"] == ["conv1", "conv3"]
    (entry,) = table["networks"]
    assert (
        entry["network"] == "CC+Jigsaw++" and entry["seeds"] == [0, 1] and len(entry["runs"]) == 4
    )
    assert entry["evaluation"]["accuracy/conv1"]["values"] == [0.5, 0.52]
    assert entry["evaluation"]["accuracy/conv3"]["mean"] == pytest.approx(0.41)


def test_other_evaluations_have_tables_of_their_own(runs):
    runs.method()
    for name, init, value in (("voc_random", None, 0.4), ("voc_cc", "cc", 0.6)):
        evaluation = dict(mean_average_precision=value, mean_average_precision_step=value - 0.01)
        inputs = dict(data_dir="data") | (dict(init_backbone=init) if init else {})
        command = f"ccssl_tf.train --task=voc07_classification --workdir={name}"
        runs.add(
            name,
            command,
            inputs=inputs,
            metrics=dict(evaluation=evaluation | {"average_precision/cat": 0.1}),
            output="backbone.json",
        )
    summary = summary_lib.summarise(RunSet(runs.root))
    table = summary["evaluations"]["voc07_classification"]
    assert [entry["network"] for entry in table["networks"]] == ["random", "CC+Jigsaw++"]
    assert not any(entry["task"] == "voc07_classification" for entry in summary["training"])

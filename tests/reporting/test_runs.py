"""Runs are found, and networks named by what they were made from."""

import json
import shutil

import pytest

from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


def by_name(runs):
    return {run.name: run for run in RunSet(runs.root).runs}


def networks(root):
    run_set = RunSet(root)
    return {run.name: run_set.network(run) for run in run_set.runs if run.task}


def test_networks_are_named_as_in_the_paper(runs):
    runs.method()
    assert networks(runs.root) == {
        "jigsaw_pp": "Jigsaw++",
        "cc": "CC+Jigsaw++",
        "probe_random": "random",
        "probe_jigsaw_pp": "Jigsaw++",
        "probe_cc": "CC+Jigsaw++",
    }


def test_a_deep_teacher_shows_in_the_name(runs):
    runs.method(pretext_backbone="vgg16")
    found = networks(runs.root)
    assert found["jigsaw_pp"] == "vgg-Jigsaw++" and found["probe_cc"] == "CC+vgg-Jigsaw++"


def test_every_task_names_its_network(runs):
    for task in ("context_encoder", "split_brain", "supervised", "my_own"):
        runs.add(task, f"ccssl_tf.train --task={task} --backbone=alexnet", output="backbone.json")
    runs.add("deep", "ccssl_tf.train --task=context --backbone=vgg16", output="backbone.json")
    assert networks(runs.root) == dict(
        context_encoder="Context encoder",
        split_brain="Split-brain",
        supervised="Supervised",
        my_own="My own",
        deep="vgg-Context",
    )


def test_clusters_of_hog_and_of_a_random_network(runs):
    for extractor, name in (("hog", "CC+HOG"), ("endpoint", "CC+random")):
        runs.add(
            f"{extractor}/features",
            f"ccssl_tf.extract --extractor={extractor}",
            output="manifest.json",
        )
        runs.add(
            f"{extractor}/clusters",
            "ccssl_tf.cluster",
            inputs=dict(features_dir=f"{extractor}/features"),
            output="manifest.json",
        )
        runs.add(
            f"{extractor}/cc",
            "ccssl_tf.train --task=cluster_classification --backbone=alexnet",
            inputs=dict(pseudo_labels=f"{extractor}/clusters"),
            output="backbone.json",
        )
        assert networks(runs.root)[f"{extractor}/cc"] == name


def test_controls_show_in_the_name(runs):
    runs.method()
    for name, flag in (
        ("shuffled", "--shuffle_labels"),
        ("true", "--noshuffle_labels"),
        ("balanced", "--balanced_sampling"),
    ):
        command = "ccssl_tf.train --task=cluster_classification --backbone=alexnet"
        runs.add(name, command, inputs=dict(pseudo_labels="clusters"), output="backbone.json")
        with open(runs.root / name / "flags.txt", "a") as file:
            file.write(f"{flag}\n")
    found = networks(runs.root)
    assert (found["shuffled"], found["true"]) == ("CC+Jigsaw++, shuffled labels", "CC+Jigsaw++")
    assert found["balanced"] == "CC+Jigsaw++, balanced"


def test_moved_runs_still_know_their_sources(runs, tmp_path):
    runs.method()
    shutil.move(runs.root, tmp_path / "elsewhere")
    assert networks(tmp_path / "elsewhere")["probe_cc"] == "CC+Jigsaw++"


def test_sources_outside_are_followed_and_replaced_ones_are_not_taken(runs):
    runs.method("inside/")
    runs.probe("outside/probe", [0.3], init="inside/jigsaw_pp")
    assert networks(runs.root / "outside")["probe"] == "Jigsaw++"
    (runs.root / "inside/jigsaw_pp/backbone.json").write_text(
        json.dumps(dict(fingerprint="of another training"))
    )
    assert networks(runs.root / "outside")["probe"] == "from jigsaw_pp"


def test_a_run_that_keeps_the_network_it_read_is_not_its_own_source(runs):
    runs.method("inside/")
    command = "ccssl_tf.train --task=voc07_classification --freeze=fc8 --backbone=alexnet"
    runs.add(
        "outside/fc8",
        command,
        inputs=dict(init_backbone="inside/jigsaw_pp"),
        output="backbone.json",
    )
    kept = json.loads((runs.root / "inside/jigsaw_pp/backbone.json").read_text())
    (runs.root / "outside/fc8/backbone.json").write_text(json.dumps(kept))
    found = RunSet(runs.root / "outside")
    assert found.source(found.runs[0], "init_backbone").flags["task"] == "jigsaw_pp"
    assert found.network(found.runs[0]) == "Jigsaw++" and found.identity(found.runs[0])


def test_what_was_set_aside_and_the_report_itself_are_left_out(runs):
    runs.method()
    runs.method("cc.old-1/")
    runs.method("report/")
    found = RunSet(runs.root, exclude=runs.root / "report").runs
    assert len(found) == 9 and not any("old" in run.name or "report" in run.name for run in found)


def test_identity_is_all_but_the_seed(runs):
    for seed in (0, 1):
        runs.method(f"seed{seed}/", seed=seed)
    runs.method("wide/")
    flags = runs.root / "wide/jigsaw_pp/flags.txt"
    flags.write_text(flags.read_text() + "--width_multiplier=2\n")
    run_set, found = RunSet(runs.root), by_name(runs)
    identities = {
        name: run_set.identity(found[f"{name}/probe_cc"]) for name in ("seed0", "seed1", "wide")
    }
    assert identities["seed0"] == identities["seed1"] != identities["wide"]
    assert run_set.data(found["seed0/probe_cc"]) == "data_prep.shapes --num_images=100"


def test_a_run_is_told_apart_by_the_settings_it_recorded(runs):
    for seed in range(3):
        runs.probe(f"seed{seed}", [0.35], seed=seed)
        for name in ("run.json", "DONE"):
            path = runs.root / f"seed{seed}" / name
            settings = dict(task="linear_probe", seed=str(seed))
            path.write_text(json.dumps(dict(json.loads(path.read_text()), settings=settings)))
    # What else is in flags.txt has not changed what ran.
    flags = runs.root / "seed0/flags.txt"
    flags.write_text(flags.read_text() + "--learning_rate=0.01\n")
    wide = runs.root / "seed2/run.json"
    record = json.loads(wide.read_text())
    record["settings"]["width_multiplier"] = "2.0"
    wide.write_text(json.dumps(record))
    run_set = RunSet(runs.root)
    first, second, third = (run_set.identity(run) for run in run_set.runs)
    assert first == second != third


def test_runs_of_older_versions_are_told_apart_by_the_flags_of_their_task(runs):
    for seed in range(2):
        runs.probe(f"seed{seed}", [0.35], seed=seed)
    flags = runs.root / "seed0/flags.txt"
    flags.write_text(flags.read_text() + "--num_permutations=701\n")

    def of_task(module, recorded):
        assert module == "ccssl_tf.train"
        return {name: text for name, text in recorded.items() if name != "num_permutations"}

    run_set = RunSet(runs.root, settings_of_older=of_task)
    assert len({run_set.identity(run) for run in run_set.runs}) == 1
    run_set = RunSet(runs.root)
    assert len({run_set.identity(run) for run in run_set.runs}) == 2


def test_refusals(runs, tmp_path):
    with pytest.raises(InputError, match="no such directory"):
        RunSet(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no finished run there .none at all"):
        RunSet(tmp_path / "empty")
    runs.add("a", "ccssl_tf.train --task=jigsaw_pp", done=False)
    with pytest.raises(InputError, match="1 unfinished"):
        RunSet(runs.root)
    runs.add("b", "ccssl_tf.train --task=jigsaw_pp")
    (runs.root / "b/metrics.json").write_text("{")
    with pytest.raises(CorruptArtifactError, match="b/metrics.json"):
        RunSet(runs.root)


def test_runs_are_listed_in_the_order_they_were_made(runs):
    for seed in (0, 1):
        runs.method(f"seed{seed}/", seed=seed)
    names = [run.name for run in RunSet(runs.root).as_made]
    order = [
        "data",
        "jigsaw_pp",
        "probe_random",
        "features",
        "probe_jigsaw_pp",
        "clusters",
        "cc",
        "export",
        "probe_cc",
    ]
    assert names == [f"seed{seed}/{name}" for seed in (0, 1) for name in order]

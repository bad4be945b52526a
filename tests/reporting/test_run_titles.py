"""Runs are called after what they made."""

from ccssl_tf.reporting.run_titles import title_of
from ccssl_tf.reporting.runs import RunSet


def test_every_stage_has_a_title(runs):
    runs.method()
    run_set = RunSet(runs.root)
    assert {run.name: title_of(run_set, run) for run in run_set.runs} == dict(
        data="Images, made by data_prep.shapes",
        jigsaw_pp="Training of Jigsaw++",
        features="Features of Jigsaw++",
        clusters="Clusters of features of Jigsaw++",
        cc="Training of CC+Jigsaw++",
        probe_random="Linear probe of random",
        probe_jigsaw_pp="Linear probe of Jigsaw++",
        probe_cc="Linear probe of CC+Jigsaw++",
        export="Export of CC+Jigsaw++",
    )


def test_several_seeds_are_told_apart(runs):
    for seed in (0, 1):
        runs.probe(f"seed{seed}", [0.3], seed=seed)
    run_set = RunSet(runs.root)
    assert [title_of(run_set, run) for run in run_set.runs] == [
        "Linear probe of random, seed 0",
        "Linear probe of random, seed 1",
    ]

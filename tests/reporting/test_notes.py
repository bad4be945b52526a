"""A note says how numbers were computed: in the run's words, with its settings and seeds."""

from ccssl_tf.reporting.notes import how
from ccssl_tf.reporting.runs import RunSet


def test_a_run_may_say_it_itself(runs):
    facts = dict(definition="share of puzzles solved", grids=dict(conv1=2, conv2=3))
    command = "ccssl_tf.train --task=jigsaw_pp --batch_size=8 --image_size=64"
    runs.add("says", command, metrics=dict(facts=facts))
    runs.add("silent", command)
    run_set = RunSet(runs.root)
    settings = ["image_size 64", "batch_size 8"]
    assert how(run_set, [dict(runs=["says"], seeds=[0])], "accuracy") == dict(
        definition="share of puzzles solved",
        settings=[*settings, "grids conv1 2x2, conv2 3x3", "seed 0"],
    )
    assert how(run_set, [dict(runs=["silent"], seeds=[0, 1])], "accuracy") == dict(
        definition="accuracy", settings=[*settings, "seeds 0, 1"]
    )

"""The examples that a run drew have captions, and name their run."""

from ccssl_tf.reporting.examples import examples, first_examples
from ccssl_tf.reporting.runs import RunSet


def test_known_and_other_pictures_have_captions(runs):
    runs.add("a", "ccssl_tf.train --task=jigsaw_pp", pictures=["puzzle", "riddle", "conv1_filters"])
    puzzle, riddle = examples(RunSet(runs.root).named("a"))
    assert puzzle.caption[0].startswith("Image, puzzle as shown")
    assert riddle.caption == ("What goes in, what is asked, what the model answers. Run a.",)
    assert (puzzle.alternative, riddle.alternative) == ("puzzle of a", "riddle of a")


def test_the_first_entry_that_drew_something_is_shown(runs):
    for name, pictures in (("a", []), ("b", ["ranking"]), ("c", ["ranking"])):
        runs.add(name, "ccssl_tf.train --task=voc07_classification", pictures=pictures)
    run_set, entries = RunSet(runs.root), [dict(runs=["a", "b"]), dict(runs=["c"])]
    assert [figure.alternative for figure in first_examples(run_set, entries)] == ["ranking of b"]
    assert first_examples(run_set, [dict(runs=["a"])]) == []

"""The examples that a run drew have captions, and name their run."""

from ccssl_tf.reporting.elements import data_uri
from ccssl_tf.reporting.examples import examples, first_examples
from ccssl_tf.reporting.runs import RunSet


def test_known_and_other_pictures_have_captions(runs):
    runs.add("a", "ccssl_tf.train --task=jigsaw_pp", pictures=["puzzle", "riddle", "conv1_filters"])
    run_set = RunSet(runs.root)
    puzzle, riddle = examples(run_set, run_set.named("a"))
    assert puzzle.caption[0].startswith("Image, puzzle as shown")
    assert riddle.caption == (
        "What goes in, what is asked, what the model answers. Training of Jigsaw++.",
    )
    assert (puzzle.alternative, riddle.alternative) == (
        "Puzzle: Training of Jigsaw++",
        "Riddle: Training of Jigsaw++",
    )


def test_the_first_entry_that_drew_something_is_shown(runs):
    for name, pictures in (("a", []), ("b", ["ranking"]), ("c", ["ranking"])):
        runs.add(name, "ccssl_tf.train --task=voc07_classification", pictures=pictures)
    run_set, entries = RunSet(runs.root), [dict(runs=["a", "b"]), dict(runs=["c"])]
    (figure,) = first_examples(run_set, entries)
    with open(runs.root / "b/pictures/ranking.png", "rb") as file:
        assert figure.light == data_uri(file.read())
    assert first_examples(run_set, [dict(runs=["a"])]) == []

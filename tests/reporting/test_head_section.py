"""The head counts the runs and shows the numbers to remember."""

from ccssl_tf.reporting import head_section
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise


def test_runs_images_and_numbers(runs):
    runs.method()
    runs.add("later", "ccssl_tf.train --task=jigsaw_pp", done=False)
    run_set = RunSet(runs.root)
    section = head_section.section(run_set, summarise(run_set))
    assert (section["finished"], section["unfinished"]) == (9, ["later"])
    assert section["images"] == ["data_prep.shapes --num_images=100"]
    numbers = [(number["value"], number["meaning"]) for number in section["numbers"]]
    assert numbers == [
        ("17.3%", "of held-out puzzles solved by Jigsaw++ (chance 1.0%)"),
        ("32.0%", "best probe of random, on conv4"),
        ("41.0%", "best probe of Jigsaw++, on conv3"),
        ("36.0%", "best probe of CC+Jigsaw++, on conv3"),
    ]


def test_other_tasks_are_asked_otherwise(runs):
    command = "ccssl_tf.train --task=my_own --backbone=alexnet"
    runs.add("own", command, metrics=dict(evaluation=dict(accuracy=0.5)), output="backbone.json")
    run_set = RunSet(runs.root)
    (number,) = head_section.section(run_set, summarise(run_set))["numbers"]
    assert number == dict(value="50.0%", meaning="of held-out answers right on my own by My own")

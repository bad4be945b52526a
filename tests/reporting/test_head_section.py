"""The head shows the method, what went in and out, and the numbers to remember."""

import json

from ccssl_tf.data.manifest import Manifest, Shard
from ccssl_tf.reporting import head_section, page
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise


def test_runs_images_and_numbers(runs):
    runs.method()
    runs.add("later", "ccssl_tf.train --task=jigsaw_pp", done=False)
    run_set = RunSet(runs.root)
    section = head_section.section(run_set, summarise(run_set))
    assert (section["finished"], section["unfinished"]) == (9, ["later"])
    assert section["facts"] == {
        "In": "data",
        "Out": "20 clusters of Jigsaw++; the student CC+Jigsaw++ (alexnet)",
    }
    assert list(section["words"]) == ["random", "Jigsaw++", "CC+", "conv1, conv2, ...", "±"]
    numbers = [(number["value"], number["meaning"]) for number in section["numbers"]]
    assert numbers == [
        ("17.3%", "of held-out puzzles solved by Jigsaw++ (guessing: 1.0%)"),
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


def test_images_are_counted_and_accuracies_have_their_error(runs):
    shards = {
        name: [Shard(name, count, 0, "")] for name, count in dict(train=3000, val=600).items()
    }
    manifest = Manifest("images", shards, dict(source="photos"))
    runs.method()
    manifest.write(runs.root / "data")
    for path in runs.root.rglob("run.json"):
        record = json.loads(path.read_text())
        if "data_dir" in record["inputs"]:
            record["inputs"]["data_dir"]["fingerprint"] = manifest.fingerprint()
            path.write_text(json.dumps(record))
    run_set = RunSet(runs.root)
    section = head_section.section(run_set, summarise(run_set))
    assert section["facts"]["In"] == "photos: 3,000 train, 600 val images"
    # sqrt(0.173 * 0.827 / 600)
    assert section["numbers"][0]["value"] == "17.3% ± 1.5"


def test_the_date_and_the_program_of_the_runs_are_told(runs):
    for name, day in dict(a="2018-06-18", b="2018-06-20").items():
        runs.probe(name, [0.3], init=None)
        timing = runs.root / name / "timing.json"
        timing.write_text(json.dumps(dict(seconds=1, finished=f"{day}T12:00:00Z")))
        path = runs.root / name / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | dict(commit="1a2b", version="9")))
    run_set = RunSet(runs.root)
    made = page.render("head", section=head_section.section(run_set, summarise(run_set)))
    assert "2018-06-18 to 2018-06-20; ccssl_tf version 9, commit 1a2b." in made


def test_many_networks_are_in_the_table_alone(runs):
    for size in range(5):
        runs.probe(f"probe{size}", [0.3 + size / 100])
        flags = runs.root / f"probe{size}/flags.txt"
        flags.write_text(flags.read_text() + f"--image_size={size}\n")
    run_set = RunSet(runs.root)
    assert head_section.section(run_set, summarise(run_set))["numbers"] == []


def test_the_method_is_a_picture_that_can_be_heard(runs):
    runs.method()
    run_set = RunSet(runs.root)
    made = page.render("head", section=head_section.section(run_set, summarise(run_set)))
    assert made.count("<svg ") == made.count('role="img" aria-label="The method: Photos ') == 2
    steps = ("Photos", "Teacher", "Features", "Clusters", "Pseudo-labels", "Student", "Probe")
    places = [made.index(f'y="76">{step}<') for step in steps]
    assert places == sorted(places)
    assert "(CC: cluster classification)" in made

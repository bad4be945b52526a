"""What stages will cost is known from those like them, and else not told."""

import json

import pytest

from ccssl_tf.runs import stage_costs
from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.stage_costs import Measurement, StageCosts


def training(root, name, *more, steps=100, seed=0):
    arguments = ("--task=jigsaw", f"--data_dir={root}/data", "--batch_size=8", f"--seed={seed}")
    arguments += (f"--train_steps={steps}", f"--workdir={root}/{name}", *more)
    return Stage("ccssl_tf.train", arguments, root=str(root))


def done(stage, **timing):
    """Writes what the directory of a stage that is done holds."""
    stage.directory.mkdir(parents=True)
    (stage.directory / "timing.json").write_text(json.dumps(timing))
    (stage.directory / "DONE").write_text(json.dumps(dict(command=stage.line, inputs={})))
    return stage


def test_a_training_takes_as_long_as_others_and_more_steps_at_their_rate():
    costs = StageCosts([])
    costs.note(training("w/seed0", "a"), 10.0)
    costs.note(training("w/seed1", "a", seed=1), 20.0)
    assert costs.seconds(training("w/seed2", "b", seed=2, steps=300)) == pytest.approx(45.0)


def test_what_is_beside_the_steps_of_a_training_is_a_constant(tmp_path):
    measured = done(
        training(tmp_path, "a"), seconds=30.0, images_per_second=40.0, machine="2 cores of X"
    )
    costs = StageCosts([measured])
    costs.note(measured)
    size = sum(path.stat().st_size for path in measured.directory.iterdir())
    (one,) = costs.measurements
    kind = "ccssl_tf.train --data_dir=data --task=jigsaw"
    assert one == Measurement("2 cores of X", kind, 800, 30.0, 40.0, size)
    longer = training(tmp_path, "b", steps=1000)
    assert costs.seconds(longer) == pytest.approx(10 + 8000 / 40)
    assert costs.num_bytes(longer) == size
    assert costs.machines([longer]) == ["2 cores of X"]


def test_extraction_costs_in_proportion_to_the_images_it_reads(tmp_path):
    def stages_of(root, count):
        data = Stage("data_prep.image_folder", (f"--output_dir={root}/data",), root=str(root))
        data.directory.mkdir(parents=True)
        shards = [dict(num_examples=count)]
        manifest = dict(splits=dict(train=shards, val=[dict(num_examples=7)]))
        (data.directory / "manifest.json").write_text(json.dumps(manifest))
        arguments = (f"--data_dir={root}/data", "--split=train", f"--workdir={root}/features")
        return [data, Stage("ccssl_tf.extract", arguments, root=str(root))]

    small, large = stages_of(tmp_path / "small", 50), stages_of(tmp_path / "large", 600)
    done(small[1], seconds=4.0)
    costs = StageCosts(small)
    costs.note(small[1])
    costs.write(tmp_path / "costs.csv")
    costs = StageCosts(large)
    costs.read(tmp_path / "costs.csv")
    assert costs.seconds(large[1]) == pytest.approx(48.0)
    written = sum(path.stat().st_size for path in small[1].directory.iterdir())
    assert costs.num_bytes(large[1]) == pytest.approx(12 * written)
    assert costs.seconds(large[0]) is None


@pytest.mark.parametrize(
    "other",
    [
        training("w", "b", "--image_size=227"),
        training("w", "b", "--init_backbone=elsewhere"),
        Stage("ccssl_tf.train", training("w", "b").arguments[2:], root="w"),
        Stage("ccssl_tf.extract", training("w", "b").arguments, root="w"),
        Stage("ccssl_tf.train", ("--data_dir=w/other", *training("w", "b").arguments), root="w"),
    ],
)
def test_of_stages_unlike_any_nothing_is_known(other):
    costs = StageCosts([])
    costs.note(training("w", "a"), 10.0)
    assert costs.seconds(training("w", "b")) == pytest.approx(10.0)
    assert costs.seconds(other) is None and costs.num_bytes(other) is None


def test_networks_that_are_read_tell_kinds_apart(tmp_path):
    def stages_of(root, backbone):
        arguments = (f"--backbone={backbone}", "--task=jigsaw", f"--workdir={root}/t")
        teacher = Stage("ccssl_tf.train", arguments, root=str(root))
        arguments = (f"--init_backbone={root}/t", "--endpoint=conv4", f"--workdir={root}/f")
        features = Stage("ccssl_tf.extract", arguments, root=str(root))
        arguments = (f"--features_dir={root}/f", "--num_clusters=9", f"--workdir={root}/c")
        return teacher, features, Stage("ccssl_tf.cluster", arguments, root=str(root))

    measured = stages_of("w", "alexnet")
    costs = StageCosts(measured)
    costs.note(measured[2], 5.0)
    (one,) = costs.measurements
    assert one.command == ("ccssl_tf.cluster '--features_dir=alexnet conv4' --num_clusters=9")
    costs.write(tmp_path / "costs.csv")
    for backbone, seconds in (("alexnet", 5.0), ("vgg16", None)):
        others = stages_of("other", backbone)
        known = StageCosts(others)
        known.read(tmp_path / "costs.csv")
        assert known.seconds(others[2]) == seconds


def test_costs_are_told_in_words():
    costs = StageCosts([])
    costs.note(training("w", "a"), 3600.0)
    known, unknown = training("w", "b"), training("w", "c", "--image_size=227")
    assert stage_costs.in_words(costs, [known, known, unknown]) == "2:00:00, 0 kB"
    assert stage_costs.in_words(costs, [unknown]) == ""
    assert stage_costs.unknown_in_words(costs, [known, unknown]).startswith(", and 1 of 2 stages")
    assert stage_costs.unknown_in_words(costs, [known]) == ""


@pytest.mark.parametrize(
    "timing, seconds",
    [
        (dict(seconds=30.0), 30.0),
        # Interrupted: 800 images at 10 a second, of which the last process trained few.
        (dict(seconds=30.0, images_per_second=10.0), 80.0),
        ("damaged", None),
    ],
)
def test_what_was_done_before_is_known_from_its_timing(tmp_path, timing, seconds):
    stage = training(tmp_path, "a")
    stage.directory.mkdir()
    (stage.directory / "timing.json").write_text(json.dumps(timing))
    costs = StageCosts([stage])
    costs.note(stage)
    known = costs.seconds(training(tmp_path, "b"))
    assert known == (seconds and pytest.approx(seconds))


def test_own_measurements_come_before_those_of_other_machines(tmp_path):
    theirs = StageCosts([])
    theirs.note(training("w", "a"), 10.0)
    theirs.note(training("w", "a", "--image_size=227"), 10.0)
    theirs.write(tmp_path / "costs.csv")
    costs = StageCosts([])
    costs.note(training("w", "a"), 3.0)
    costs.read(tmp_path / "costs.csv")
    assert costs.seconds(training("w", "b")) == pytest.approx(3.0)
    assert costs.seconds(training("w", "b", "--image_size=227")) == pytest.approx(10.0)


@pytest.mark.parametrize("content", [None, "a,b\n1,2\n", "machine,command,images\nx,y,z\n", "\xff"])
def test_another_table_is_refused(tmp_path, content):
    path = tmp_path / "costs.csv"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match="no table of costs"):
        StageCosts([]).read(path)

"""How long stages will take is known from those like them, and else not told."""

import json

import pytest

from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.stage_pace import Pace


def training(root, name, *more, steps=100, seed=0):
    arguments = ("--task=jigsaw", f"--data_dir={root}/data", "--batch_size=8", f"--seed={seed}")
    arguments += (f"--train_steps={steps}", f"--workdir={root}/{name}", *more)
    return Stage("ccssl_tf.train", arguments, root=str(root))


def test_stages_like_others_take_as_long_in_proportion_to_their_images():
    pace = Pace([])
    pace.note(training("w/seed0", "a", "--init_backbone=w/seed0/x"), 10.0)
    pace.note(training("w/seed1", "a", seed=1), 20.0)
    assert pace.seconds(training("w/seed2", "b", seed=2, steps=300)) == pytest.approx(45.0)


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
    pace = Pace([])
    pace.note(training("w", "a"), 10.0)
    assert pace.seconds(training("w", "b")) == pytest.approx(10.0)
    assert pace.seconds(other) is None


def test_what_is_left_is_told():
    pace = Pace([])
    left = [training("w", "a", steps=7200), training("w", "b", "--image_size=227")]
    assert pace.describe(left[:1]) == "0:00:00 so far, 1 stage left"
    pace.note(training("w", "c"), 50.0)
    assert pace.describe(left) == "0:00:00 so far, 2 stages left, ETA 1:00:00 for 1 of them"
    assert pace.describe(left[:1]) == "0:00:00 so far, 1 stage left, ETA 1:00:00"


@pytest.mark.parametrize(
    "timing, seconds",
    [
        (dict(seconds=30.0), 30.0),
        # Interrupted: 800 images at 10 a second, of which the last process trained few.
        (dict(seconds=30.0, images_per_second=10.0), 80.0),
        (dict(images_per_second=10.0), None),
        ("damaged", None),
    ],
)
def test_what_was_done_before_is_known_from_its_timing(tmp_path, timing, seconds):
    done = training(tmp_path, "a")
    done.directory.mkdir()
    (done.directory / "timing.json").write_text(json.dumps(timing))
    assert Pace([done]).seconds(done) is None
    record = json.dumps(dict(command=done.line, inputs={}))
    (done.directory / "DONE").write_text(record)
    known = Pace([done]).seconds(training(tmp_path, "b"))
    assert known == (seconds and pytest.approx(seconds))

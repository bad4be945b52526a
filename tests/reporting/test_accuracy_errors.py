"""Standard errors are those of drawing images and seeds again, as simulations confirm."""

import json

import numpy as np
import pytest

from ccssl_tf.data.outcomes import write_outcomes
from ccssl_tf.reporting.accuracy_errors import gap, standard_error
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise

_NAME = "accuracy/conv1"


def write_probe(runs, name, correct, *, seed=0, init=None):
    runs.probe(name, [float(correct.mean())], seed=seed, init=init)
    write_outcomes(dict(conv1=correct), runs.root / name)


def entries_of(run_set):
    return summarise(run_set)["probes"]["linear_probe"]["networks"]


def test_the_error_is_that_of_drawing_the_images_again(runs):
    random = np.random.default_rng(0)
    correct = random.random(400) < 0.3
    write_probe(runs, "a", correct)
    run_set = RunSet(runs.root)
    error = standard_error(run_set, run_set.runs, _NAME)
    drawn = [random.choice(correct, 400).mean() for _ in range(4000)]
    assert error == pytest.approx(np.std(drawn), rel=0.05)
    assert entries_of(run_set)[0]["evaluation"][_NAME]["standard_error"] == error


def test_seeds_add_their_own_error(runs):
    random = np.random.default_rng(0)
    for seed, share in enumerate((0.2, 0.3, 0.4)):
        write_probe(
            runs, f"seed{seed}", random.permutation(np.arange(1000) < 1000 * share), seed=seed
        )
    run_set = RunSet(runs.root)
    error = standard_error(run_set, run_set.runs, _NAME)
    over_seeds = 0.1 / np.sqrt(3)
    assert over_seeds < error < 1.02 * over_seeds


def test_of_images_without_answers_their_number_is_enough(runs, image_dir):
    runs.probe("a", [0.5])
    path = runs.root / "a/run.json"
    record = json.loads(path.read_text())
    record["inputs"]["data_dir"]["path"] = str(image_dir)
    path.write_text(json.dumps(record))
    run_set = RunSet(runs.root)
    assert standard_error(run_set, run_set.runs, _NAME) == pytest.approx(np.sqrt(0.25 / 16))


def test_nothing_is_made_up(runs):
    runs.probe("a", [0.5])
    run_set = RunSet(runs.root)
    assert standard_error(run_set, run_set.runs, _NAME) is None
    (entry,) = entries_of(run_set)
    assert "standard_error" not in entry["evaluation"][_NAME]
    assert gap(run_set, entry, entry, _NAME) is None
    assert gap(run_set, entry, entry, "accuracy/conv9") is None


def test_the_same_images_tell_smaller_differences(runs):
    """Where one network is right on all that the other is, and 2% more, nobody can doubt it."""
    correct = np.arange(1000) % 2 == 0
    better = correct.copy()
    better[1:41:2] = True
    runs.add("net", "ccssl_tf.train --task=jigsaw_pp", output="backbone.json")
    write_probe(runs, "a", correct)
    write_probe(runs, "b", better, init="net")
    run_set = RunSet(runs.root)
    entries = {entry["network"]: entry for entry in entries_of(run_set)}
    first, second = entries["Jigsaw++"], entries["random"]
    found = gap(run_set, first, second, _NAME)
    assert found.mean == pytest.approx(0.02)
    assert found.standard_error == pytest.approx(np.sqrt(0.02 * 0.98 / 1000))
    assert found.is_beyond_noise and not gap(run_set, first, first, _NAME).is_beyond_noise
    (runs.root / "b/outcomes.npz").unlink()
    run_set = RunSet(runs.root)
    # The error that is left in the summary of before is of two samples.
    unpaired = gap(run_set, first, second, _NAME)
    assert unpaired.standard_error == pytest.approx(np.sqrt((0.52 * 0.48 + 0.25) / 1000))
    assert not unpaired.is_beyond_noise

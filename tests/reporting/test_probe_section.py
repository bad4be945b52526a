"""Probes: a network that is clearly the best of a layer is bold; seeds and a reference are in small
print.
"""

import copy

import numpy as np

from ccssl_tf.data.outcomes import write_outcomes
from ccssl_tf.reporting import probe_section
from ccssl_tf.reporting.elements import Cell
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise

DRAWINGS = dict(probes=dict(linear_probe=b"\x89PNG"))


def section_of(root, reference=None):
    runs = RunSet(root)
    summary = summarise(runs)
    return probe_section.section(runs, summary, "linear_probe", DRAWINGS, reference), summary


def test_only_what_is_beyond_noise_is_bold(runs):
    """Of 1,000 images, 30 points are beyond two standard errors, and one point is within them."""
    random = np.random.default_rng(0)
    runs.add("net", "ccssl_tf.train --task=jigsaw_pp", output="backbone.json")
    for name, init, shares in (("a", None, (0.3, 0.40)), ("b", "net", (0.6, 0.41))):
        correct = {
            f"conv{number}": random.permutation(np.arange(1000) < 1000 * share)
            for number, share in enumerate(shares, 1)
        }
        runs.probe(name, shares, init=init)
        write_outcomes(correct, runs.root / name)
    section, _ = section_of(runs.root)
    assert section["table"].rows[0][1:] == [Cell(("30.0 ± 1.4",)), Cell(("40.0 ± 1.5",))]
    assert section["table"].rows[1][1:] == [
        Cell(("60.0 ± 1.5",), strong=True),
        Cell(("41.0 ± 1.6",)),
    ]
    assert section["figure"].caption == (
        "Accuracy by layer. Bars: one standard error up and down.",
    )


def test_without_errors_nothing_is_bold(runs):
    runs.method()
    section, _ = section_of(runs.root)
    cells = {row[0].lines[0]: row[1:] for row in section["table"].rows}
    assert cells["Jigsaw++"][2] == Cell(("41.0",))
    assert not section["several_seeds"]
    assert section["figure"].caption == ("Accuracy by layer. No bars: the errors are not known.",)


def test_a_layer_that_was_not_probed_has_a_dash_and_top5_is_in_small_print(runs):
    runs.probe("a", [0.3, 0.4])
    metrics = dict(evaluation={"accuracy/conv1": 0.5, "top5/conv1": 0.8})
    runs.add("b", "ccssl_tf.train --task=linear_probe --image_size=32", metrics=metrics)
    section, _ = section_of(runs.root)
    assert section["table"].rows[1][1:] == [
        Cell(("50.0",), ("top-5 80.0",)),
        Cell(("-",)),
    ]


def test_ranges_of_seeds_and_of_a_reference(runs):
    for seed in (0, 1):
        runs.method(f"seed{seed}/", seed=seed, shift=0.02 * seed)
    section, summary = section_of(runs.root)
    assert section["several_seeds"]
    assert (
        section["figure"].caption[0].endswith("Bars: from the least to the greatest of the seeds.")
    )
    assert section["table"].rows[0][1] == Cell(("29.1",), ("28.1–30.1",))
    section, _ = section_of(runs.root / "seed0", reference=summary)
    assert section["table"].rows[0][1] == Cell(("28.1",), ("ref. 28.1–30.1",))
    assert section["reference_seeds"] == "seeds 0, 1"


def test_a_reference_on_other_images_is_not_shown(runs):
    runs.method()
    _, summary = section_of(runs.root)
    other = copy.deepcopy(summary)
    for entry in other["probes"]["linear_probe"]["networks"]:
        entry["data"] = "data_prep.image_folder"
    section, _ = section_of(runs.root, reference=other)
    assert section["has_reference"] and section["reference_seeds"] is None
    assert not any(cell.small for row in section["table"].rows for cell in row)

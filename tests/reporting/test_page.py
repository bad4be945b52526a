"""The page is well-formed, holds everything inside itself, and shows the numbers."""

import base64
import copy
import html.parser
import re

import pytest

from ccssl_tf.reporting import figures, page
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise

_VOID = {"meta", "img", "br", "source"}


class Reader(html.parser.HTMLParser):
    """Checks nesting, collects references, headings, and the rows of the tables as text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.rows, self.headings = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "h2":
            self.headings.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if "h2" in self.open:
            self.headings[-1] += data


def make_page(root, reference=None):
    runs = RunSet(root)
    summary = summarise(runs)
    drawings = dict(
        probes={
            task: figures.both_grounds(figures.draw_probes, part)
            for task, part in summary["probes"].items()
        },
        curves={},
    )
    return page.page(runs, summary, drawings, reference), summary


@pytest.fixture
def made(runs):
    runs.method()
    return make_page(runs.root)[0]


def test_everything_is_inside_the_page(made):
    reader = Reader(made)
    assert len(reader.references) > 5
    assert all(reference.startswith("data:image/png;base64,") for reference in reader.references)
    assert all(
        base64.b64decode(reference.split(",")[1], validate=True).startswith(b"\x89PNG")
        for reference in reader.references
    )
    assert not re.search(r"https?://|<script|@import|url\(", made)
    assert '<meta name="viewport"' in made and "prefers-color-scheme: dark" in made


def test_the_probe_table_shows_the_numbers_and_the_best(made):
    rows = Reader(made).rows
    assert ["random", "28.1", "29.1", "31.0", "32.0", "30.0"] in rows
    assert ["CC+Jigsaw++", "28.0", "31.0", "36.0", "36.0", "34.0"] in rows
    assert "<strong>41.0</strong>" in made and "<strong>36.0</strong>" not in made


def test_every_section_is_there_with_its_facts(made):
    reader = Reader(made)
    assert [heading.split(":")[0] for heading in reader.headings] == [
        "Linear probes",
        "Training",
        "Clusters, the pseudo-labels",
        "Knowledge transfer",
        "First-layer filters",
        "How every stage was made",
        "Use it",
    ]
    for fact in (
        "17.3",
        "chance 1.0%",
        "1.23 M",
        "share of &lt;puzzles&gt; solved",
        "0.234",
        "0.345",
        "1 / 4.5 / 9",
        "456.7 images/s",
    ):
        assert fact in made, fact
    assert "python -m data_prep.shapes --num_images=100" in made
    assert "tf.saved_model.load(" in made and "export/saved_model" in made


def test_sections_without_runs_are_left_out_and_unfinished_runs_named(runs):
    runs.probe("probe", [0.3, 0.4])
    runs.add("later", "ccssl_tf.train --task=jigsaw_pp --backbone=alexnet", done=False)
    made, _ = make_page(runs.root)
    assert [heading.split(":")[0] for heading in Reader(made).headings] == [
        "Linear probes",
        "First-layer filters",
        "How every stage was made",
    ]
    assert "1 finished runs, 1 unfinished (later)" in made


def test_what_any_task_drew_is_shown_once(runs):
    for seed in (0, 1):
        command = f"ccssl_tf.train --task=my_own --backbone=alexnet --seed={seed}"
        runs.add(
            f"own{seed}",
            command,
            output="backbone.json",
            pictures=["riddle"],
            metrics=dict(evaluation=dict(accuracy=0.5)),
        )
    made, _ = make_page(runs.root)
    assert made.count('alt="Examples of my_own"') == 1
    assert "What goes in, what is asked, what the model answers. Run own0." in made


def test_ranges_of_seeds_and_of_a_reference(runs):
    for seed in (0, 1):
        runs.method(f"seed{seed}/", seed=seed, shift=0.02 * seed)
    made, summary = make_page(runs.root)
    assert Reader(made).rows[1][:3] == ["random", "29.128.1–30.1", "29.129.1–29.1"]
    made, _ = make_page(runs.root / "seed0", reference=summary)
    assert Reader(made).rows[1][:2] == ["random", "28.1ref. 28.1–30.1"]
    assert "range of our own runs of the same commands, seeds 0, 1" in made


def test_a_reference_on_other_images_is_not_shown(runs):
    runs.method()
    _, summary = make_page(runs.root)
    other = copy.deepcopy(summary)
    for entry in other["probes"]["linear_probe"]["networks"]:
        entry["data"] = "data_prep.image_folder"
    made, _ = make_page(runs.root, reference=other)
    assert "ref. " not in made and "measured on other images" in made


def test_names_cannot_break_the_page(runs):
    runs.probe("<b>&probe", [0.3])
    made, _ = make_page(runs.root)
    Reader(made)
    assert "<b>" not in made


def test_evaluations_have_a_section_with_what_the_best_network_drew(runs):
    runs.method()
    for name, init, value in (("voc_random", None, 0.412), ("voc_cc", "cc", 0.634)):
        inputs = dict(data_dir="data") | (dict(init_backbone=init) if init else {})
        metrics = dict(
            step=80,
            evaluation=dict(mean_average_precision=value, loss=1.0),
            facts=dict(chance=0.07, definition="mAP of ours"),
        )
        command = f"ccssl_tf.train --task=voc07_classification --workdir={name}"
        runs.add(
            name,
            command,
            inputs=inputs,
            metrics=metrics,
            output="backbone.json",
            pictures=["conv1_filters", "ranking"],
        )
    made, _ = make_page(runs.root)
    reader = Reader(made)
    assert "VOC 2007 classification: mean average precision" in reader.headings
    assert ["random", "41.2", "7.0%", "80"] in reader.rows and [
        "CC+Jigsaw++",
        "63.4",
        "7.0%",
        "80",
    ] in reader.rows
    assert ["", "mAP", "chance", "steps"] in reader.rows
    assert "mAP of ours" in made and "Run voc_cc." in made and "Run voc_random." not in made


def test_segmentation_has_its_chance_and_its_images_are_named(runs):
    evaluation = dict(mean_iou=0.052, pixel_accuracy=0.7, loss=1.0)
    metrics = dict(
        step=9,
        evaluation=evaluation,
        facts=dict(chance=dict(mean_iou=0.032, pixel_accuracy=0.67), definition="of ours"),
    )
    runs.add("data", "data_prep.voc --year=2012", inputs={}, metrics={}, output="manifest.json")
    command = "ccssl_tf.train --task=fcn --workdir=fcn"
    runs.add(
        "fcn",
        command,
        inputs=dict(data_dir="data"),
        metrics=metrics,
        output="segmenter.keras",
        pictures=["segmentation"],
    )
    made, _ = make_page(runs.root)
    assert ["random", "5.2", "70.0", "3.2%", "9"] in Reader(
        made
    ).rows and "Images: data_prep.voc --year=2012." in made

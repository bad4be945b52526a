"""The page is well-formed, holds everything inside itself, and shows the numbers."""

import base64
import html.parser
import re

import pytest

from ccssl_tf.reporting import figures, page
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise

_VOID = {"meta", "img", "br", "source", "input"}


class Reader(html.parser.HTMLParser):
    """Checks nesting, collects references, headings, and the rows of the tables as text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.rows, self.headings = [], [], [], []
        self.ids, self.pictures = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset")]
        self.ids += [value for name, value in attrs if name == "id"]
        self.pictures += [dict(attrs)] if tag in ("img", "svg") else []
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
    links = [reference for reference in reader.references if reference.startswith("#")]
    assert len(links) == len(reader.headings) == 7
    assert all(link.removeprefix("#") in reader.ids for link in links)
    pictures = [reference for reference in reader.references if reference not in links]
    assert len(pictures) > 5
    for picture in pictures:
        kind, data = re.fullmatch("data:image/(png|webp);base64,(.*)", picture).groups()
        start = dict(png=b"\x89PNG", webp=b"RIFF")[kind]
        assert base64.b64decode(data, validate=True).startswith(start)
    assert not re.search(r"<script|@import|url\(", made)
    assert re.findall(r"https?://[^ \"]*", made) == ["http://www.w3.org/2000/svg"] * 2
    assert all(picture.get("alt") or picture.get("aria-label") for picture in reader.pictures)
    assert '<meta name="viewport"' in made and "prefers-color-scheme: dark" in made


def test_the_probe_table_shows_the_numbers(made):
    rows = Reader(made).rows
    assert ["random", "28.1", "29.1", "31.0", "32.0", "30.0"] in rows
    assert ["CC+Jigsaw++", "28.0", "31.0", "36.0", "36.0", "34.0"] in rows


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
        "guessing: 1.0%",
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


def test_ranges_of_seeds_and_of_a_reference(runs):
    for seed in (0, 1):
        runs.method(f"seed{seed}/", seed=seed, shift=0.02 * seed)
    made, summary = make_page(runs.root)
    assert Reader(made).rows[1][:3] == ["random", "29.128.1–30.1", "29.129.1–29.1"]
    made, _ = make_page(runs.root / "seed0", reference=summary)
    assert Reader(made).rows[1][:2] == ["random", "28.1ref. 28.1–30.1"]
    assert "our own runs of the same commands, seeds 0, 1" in made


def test_a_reference_on_other_images_is_not_shown(runs):
    runs.method()
    _, summary = make_page(runs.root)
    for entry in summary["probes"]["linear_probe"]["networks"]:
        entry["data"] = "data_prep.image_folder"
    made, _ = make_page(runs.root, reference=summary)
    assert "ref. " not in made and "measured on other images" in made


def test_evaluations_have_a_section_each(runs):
    runs.add("data", "data_prep.voc --year=2012", output="manifest.json")
    metrics = dict(step=9, evaluation=dict(mean_iou=0.052))
    command = "ccssl_tf.train --task=fcn --workdir=fcn"
    runs.add("fcn", command, inputs=dict(data_dir="data"), metrics=metrics)
    made, _ = make_page(runs.root)
    reader = Reader(made)
    assert reader.headings[0] == "Segmentation: mean intersection over union"
    assert ["random", "5.2", "-", "9"] in reader.rows
    assert "<dt>In</dt><dd>data</dd>" in made


def test_names_cannot_break_the_page(runs):
    """Whatever a user may name is text on the page: runs, definitions, classes, data, layers."""
    script = '<script>alert("1")</script>'.replace("/", "\\")
    facts = dict(chance=0.1, definition=f"share of {script}", grids={script: 2})
    runs.add("data", f"data_prep.image_folder --class_names={script}", output="manifest.json")
    shared = dict(inputs=dict(data_dir="data"), output="backbone.json")
    runs.add(
        script,
        f"ccssl_tf.train --task=my_{script} --backbone={script}",
        metrics=dict(step=1, facts=facts, evaluation=dict(accuracy=0.5), training={}),
        pictures=["conv1_filters", "riddle"],
        **shared,
    )
    for name, task, evaluation in (
        ("probe", "linear_probe", {f"accuracy/{script}": 0.5}),
        ("voc", "voc07_classification", {"mean_average_precision": 0.5, f"class {script}": 0.5}),
    ):
        runs.add(
            f"{name} of {script}",
            f"ccssl_tf.train --task={task}",
            metrics=dict(facts=facts, evaluation=evaluation),
            **shared,
        )
    runs.add(
        f"clusters {script}",
        f"ccssl_tf.cluster --num_clusters={script}",
        metrics=dict(num_clusters=5, splits={script: dict(num_examples=3, nmi=0.5)}),
        output="manifest.json",
    )
    runs.add(
        "student",
        f"ccssl_tf.train --task=cluster_classification --backbone={script}",
        inputs=dict(data_dir="data", pseudo_labels=f"clusters {script}"),
        metrics=dict(evaluation=dict(accuracy=0.5)),
        output="backbone.json",
    )
    (runs.root / script / "backbone.keras").touch()
    made, _ = make_page(runs.root)
    reader = Reader(made)
    assert "<script" not in made and 'alert("1")' not in made
    assert made.count("&lt;script&gt;") > 20
    assert len(reader.headings) == 8

"""The page is well-formed, needs nothing else, and shows tables, claims and what was not run."""

import html.parser
import re

from paper_measurements import measured, probed

from ccssl_tf.reporting.paper.claims import judge
from ccssl_tf.reporting.paper.comparison import compare
from ccssl_tf.reporting.paper.results import Results
from ccssl_tf.reporting.paper.sections import head_section, paper_page, table_section

VALUES = [0.2, 0.3, 0.31, 0.33, 0.28]


class Reader(html.parser.HTMLParser):
    """Checks nesting and collects the rows of the tables."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def made(*measurements):
    results = Results(measurements)
    return paper_page(results, compare(results), judge(results))


def test_the_page_shows_the_papers_number_beside_ours():
    text = made(
        *(probed("imagenet_probe/cc_hog", VALUES, seed=s, count=1000) for s in (0, 1)),
        probed("imagenet_probe/random", VALUES, outcomes=True, count=1000),
        measured("segmentation/jigsaw", 0.3, metric="evaluation.mean_iou"),
    )
    rows = Reader(text).rows
    hog = "paper 16.8±0.0, 2 seedss.e. 1.3 (binomial)"
    assert any(row[:2] == ["CC+HOG", f"20.0{hog}"] for row in rows)
    assert any(row[:2] == ["Random", "20.0paper 11.61 seeds.e. 1.3"] for row in rows)
    assert ["Jigsaw", "-paper 67.7", "-paper 53.2", "-", "30.01 seed"] in rows
    assert "Not run: Supervised; Context;" in text
    assert text.count("<h2>") == 8 and text.count("<h3>") == 9
    assert not re.search(r"https?://|<script|@import|url\(|src=", text)
    assert "@media print" in text


def test_without_runs_all_rows_are_named_in_a_line():
    text = made()
    Reader(text)
    assert "0 of the 268 numbers" in " ".join(text.split())
    assert "Not run: clusters." in text and "not measured" in text


def test_the_head_tells_of_commits_and_of_seeds_that_differ():
    results = Results(
        [
            measured("train/a", 0.1, seed=0, commit="c1"),
            measured("train/a", 0.1, seed=2, commit="c2"),
        ]
    )
    head = head_section(results, compare(results))
    assert head["commits"] == ["c1", "c2"] and head["seeds"] == [0, 2]
    assert head["mixed"] == ["train/a"] and head["measured"] == 0 and head["runs"] == 2


def test_names_cannot_break_the_page():
    text = made(probed("imagenet_probe/<script>&", VALUES))
    Reader(text)
    assert "<script" not in text and "&lt;script&gt;&amp;" in text


def test_networks_of_ours_are_marked():
    compared = compare(Results([probed("imagenet_probe/cc_shuffled", VALUES)]))
    section = table_section(next(table for table in compared if table.name == "4"))
    name = section["table"].rows[0][0]
    assert name.lines == ("CC, shuffled pseudo-labels",)
    assert name.small == ("not in this table of the paper",)

"""The browser shows what a clustering wrote, without scripts too, and names stay text."""

import html.parser
import json
import re

import pytest

from ccssl_tf.reporting import page
from ccssl_tf.reporting.photo_browser import browser
from ccssl_tf.reporting.runs import RunSet

_SCRIPT = "</script><script>alert(1)</script>"


def content(**changes):
    """Two clusters of 30 and 1 images, and one that has no photos here."""
    count = 31
    return (
        dict(
            split="train",
            num_images=40,
            side=56,
            columns=16,
            classes=["cat", _SCRIPT],
            clusters=[
                dict(number=0, size=30, classes=[[0, 20], [1, 10]], mean_distance=2.5, shown=30),
                dict(number=1, size=9, classes=[], mean_distance=3.5, shown=0),
                dict(number=2, size=1, classes=[], mean_distance=0.0, shown=1),
            ],
            order=[0, 2],
            sheets=["UklGRg==", "UklGRh=="],
            names=[_SCRIPT, *(f"{number}.jpg" for number in range(1, count))],
            labels=[1, *[0] * 29, -1],
            distances=[number / 10 for number in range(count)],
            neighbours=[[(number + 1) % count] for number in range(count)],
            apart=[[0.5]] * count,
            misfits={"far": [29, 28], "class": [0]},
        )
        | changes
    )


@pytest.fixture
def clusters(runs):
    """A writer of a clustering with what it wrote for the browser; returns the run."""

    def write(text):
        runs.add("clusters", "ccssl_tf.cluster", output="manifest.json")
        nearest = [
            dict(cluster=1, size=9, nearest=[dict(index=3, filename="<far>.jpg", distance=1.25)])
        ]
        (runs.root / "clusters/nearest.json").write_text(json.dumps(dict(train=nearest)))
        (runs.root / "clusters/browser.json").write_text(text)
        return RunSet(runs.root).named("clusters")

    return write


class Tags(html.parser.HTMLParser):
    """Collects the attributes of all tags."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def rendered(run):
    section = dict(browser=browser(run), browsed="Jigsaw++")
    return page.render("browser", section=section)


def test_photos_stand_in_their_place_with_what_they_are(clusters):
    photos = Tags(rendered(clusters(json.dumps(content())))).of("i")
    # The misfits come first: the photo of another class, then the two furthest.
    assert [photo["data-photo"] for photo in photos[:4]] == ["0", "29", "28", "0"]
    first, eighteenth, single = photos[3], photos[3 + 17], photos[-1]
    assert first["aria-label"] == f"{_SCRIPT}: {_SCRIPT}, cluster 0, distance 0"
    assert "foreign" in first["class"] and "foreign" not in eighteenth["class"]
    assert eighteenth["style"] == "--x:1;--y:1"
    assert single["class"].split() == ["photo", "sheet-1"]
    assert single["aria-label"] == "30.jpg: cluster 2, distance 3"


def test_every_cluster_is_there_with_shares_and_ends(clusters):
    made = rendered(clusters(json.dumps(content())))
    summaries = [
        re.sub(r"\s+", " ", text) for text in re.findall("<summary>(.*?)</summary>", made, re.S)
    ]
    assert summaries[2:] == [
        "Cluster 0: 30 images; cat 66.7%, &lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt; "
        "33.3%; mean distance 2.5",
        "Cluster 1: 9 images; mean distance 3.5",
        "Cluster 2: 1 image; mean distance 0.0",
    ]
    assert re.findall('<p class="soft">(.*?)</p>', made) == [
        "11 nearest",
        "8 between",
        "11 furthest",
        "nearest: &lt;far&gt;.jpg (1.25)",
        " all, nearest first",
    ]
    assert "31 of the 40 images" in re.sub(r"\s+", " ", made)


def test_a_photo_is_in_the_page_once_and_no_name_is_a_script(clusters):
    made = rendered(clusters(json.dumps(content())))
    assert made.count("UklGRg==") == 1
    assert len(Tags(made).of("script")) == made.count("<script") == 2
    assert "alert(1)</script>" not in made.replace("alert(1)&lt;/script&gt;", "")
    data = re.search('id="near-photos">(.*?)</script>', made)[1]
    neighbours, apart = json.loads(data)
    assert neighbours[30] == [0] and apart[0] == [0.5]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        json.dumps(dict(content(), sheets=["x); } body { background: url(http://a"] * 2)),
        json.dumps(dict(content(), order=[7])),
        json.dumps(dict(content(), names=[])),
        json.dumps(dict(content(), order=[])),
    ],
)
def test_what_is_no_such_file_is_left_out(clusters, text):
    assert browser(clusters(text)) is None


def test_runs_of_before_have_none(runs):
    runs.add("clusters", "ccssl_tf.cluster")
    assert browser(RunSet(runs.root).named("clusters")) is None

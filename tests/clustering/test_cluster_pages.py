"""What the pages show, and that names from strangers stay text."""

import html.parser

import numpy as np
from conftest import jpeg_of, smooth_picture

from ccssl_tf.clustering import cluster_pages
from ccssl_tf.data import records
from ccssl_tf.data.image_facts import read_image_facts
from ccssl_tf.data.manifest import Manifest


class _Pictures(html.parser.HTMLParser):
    """The alternative texts of the pictures, and the tags there are."""

    def __init__(self, text):
        super().__init__()
        self.names, self.tags = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "img":
            self.names.append(dict(attributes)["alt"])


def test_nearest_first_and_names_escaped(tmp_path):
    names = [b"%03d.jpg" % number for number in range(79)] + [b"<script>alert(1)</script>.jpg"]
    examples = [
        records.image_example(
            encoded=jpeg_of(smooth_picture(index, 9, 12)),
            filename=name,
            height=9,
            width=12,
            index=index,
        )
        for index, name in enumerate(names)
    ]
    shard = records.write_shard(tmp_path / "train-00000-of-00001.tfrecord", examples)
    manifest = Manifest("images", {"train": [shard]}, dict(class_names=None))
    manifest.write(tmp_path)
    facts = read_image_facts(tmp_path, "train", manifest.fingerprint("train"))
    index = np.arange(80)[::-1]
    labels = np.where(index < 75, 3, 1)
    distances = (index * 7 % 80).astype(float)
    cluster_pages.write(tmp_path / "pages", "train", facts, index, labels, distances, 9)
    page = _Pictures((tmp_path / "pages/train_cluster_00003.html").read_text())
    order = sorted(range(75), key=lambda image: image * 7 % 80)
    expected = [f"{image:03}.jpg" for image in order[:60] + order[:59:-1][:12]]
    assert page.names == expected
    page = _Pictures((tmp_path / "pages/train_cluster_00001.html").read_text())
    assert "<script>alert(1)</script>.jpg" in page.names and "script" not in page.tags
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == [
        "train.html",
        "train_cluster_00001.html",
        "train_cluster_00003.html",
    ]

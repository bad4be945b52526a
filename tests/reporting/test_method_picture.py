"""The picture holds what the runs have drawn, from the teacher's task to the probes."""

import io

import numpy as np
from PIL import Image

from ccssl_tf.reporting import method_picture
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise


def png(colour, size):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def drawn(root, probes=None):
    runs = RunSet(root)
    picture = method_picture.draw(runs, summarise(runs), probes)
    return picture and np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), int)


def test_every_step_has_its_picture_and_clusters_are_the_tightest_to_the_loosest(runs):
    runs.method()
    (runs.root / "jigsaw_pp/pictures/puzzle.png").write_bytes(png("red", (90, 10)))
    clusters = Image.new("RGB", (900, 704), "white")
    for number in range(7):
        clusters.paste((0, 0, 40 * number), (0, 100 * number, 900, 100 * number + 100))
    clusters.save(runs.root / "clusters/pictures/nearest_images.png")
    picture = drawn(runs.root, png("lime", (1800, 400)))
    # Captions of 30 pixels, margins of 6.
    assert picture.shape == (30 + 100 + 6 + 30 + 300 + 6 + 30 + 200 + 6, 900, 3)
    places = {80: (255, 0, 0), 216: (0, 0, 0), 316: (0, 0, 120), 416: (0, 0, 240), 602: (0, 255, 0)}
    for top, colour in places.items():
        np.testing.assert_allclose(picture[top, 450], colour, atol=12)
    captions = [picture[top + 2 : top + 28] for top in (0, 136, 472)]
    assert all(caption.min() < 100 and caption[:, -1].min() > 240 for caption in captions)


def test_there_is_none_without_a_student(runs):
    runs.probe("probe", [0.3])
    assert drawn(runs.root) is None

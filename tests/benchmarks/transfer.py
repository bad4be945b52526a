r"""Measures what the teacher's part of a transfer costs: features of a network, and bags of HOG
words.

python -m tests.benchmarks.transfer --data_dir=RECORDS [--rounds=5] [--parts=extract,hog] \
    [--backbone=alexnet] [--image_size=64]

extract   images/s of extracting conv4 (VGG16: conv4_3) features, from the image shards to finished
feature shards, over those of the same
          network and pooling alone on batches that lie in memory as pixels.
hog       images/s of our HOG blocks over those of `skimage.feature.hog` on the same pixels, both on
one core, and how far apart the numbers
          are (left out where it is absent: pip install scikit-image).

The sides take turns in one process; a line gives minimum / median / maximum over the rounds.
"""

import contextlib
import functools
import io
import os
import pathlib
import statistics
import tempfile
import time

import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import registry
from ccssl_tf.data import pipeline
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features import extract_features
from ccssl_tf.features.endpoint import EndpointExtractor
from ccssl_tf.network_flags import BACKBONE, BATCH_SIZE, IMAGE_SIZE
from ccssl_tf.ops.hog_blocks import hog_blocks
from ccssl_tf.runs import launch
from ccssl_tf.stage_flags import DATA_DIR

ROUNDS = flags.DEFINE_integer("rounds", 5, "Times everything is measured.", lower_bound=1)
PARTS = flags.DEFINE_list("parts", ["extract", "hog"], "What is measured.")
SPLIT = flags.DEFINE_string("split", "train", "Split of the images.")

# Cell, block, orientations: ours, that of small images, and scikit-image's default.
HOG_SETTINGS = ((8, 2, 9), (4, 2, 9), (8, 3, 9))
_HOG_IMAGES, _HOG_SECONDS = 32, 2.0


def spread(values, digits=2) -> str:
    """Returns "minimum / median / maximum"."""
    values = list(values)
    return " / ".join(
        f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )


def alternate(sides: dict) -> dict[str, list[float]]:
    """Returns images/s of each side by round; a side is a call that returns how many images it
    worked on. The first call is not counted.
    """
    for function in sides.values():
        function()
    found = {name: [] for name in sides}
    for number in range(ROUNDS.value):
        names = list(sides)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            images = sides[name]()
            found[name].append(images / (time.perf_counter() - start))
    return found


def report(title, found, over, digits=0):
    """Prints the rates and the ratio of the first side to `over`."""
    first = next(iter(found))
    rates = ", ".join(f"{name} {spread(values, digits)}" for name, values in found.items())
    ratios = (a / b for a, b in zip(found[first], found[over], strict=True))
    print(f"{title}: images/s {rates}; ratio {spread(ratios)}", flush=True)


def measure_extract():
    """Prints the rate of extraction over that of the network alone."""
    size, batch_size = IMAGE_SIZE.value, BATCH_SIZE.value
    backbone = registry.build_backbone()
    endpoint = "conv4" if "conv4" in backbone.endpoint_names else "conv4_3"
    extractor = EndpointExtractor(
        backbone,
        endpoint=endpoint,
        pool_grid=5,
        pooling="max",
        image_size=size,
        batch_size=batch_size,
    )
    total = Manifest.read(DATA_DIR.value, "images").num_examples(SPLIT.value)
    batches = [
        batch["image"]
        for batch in pipeline.evaluation_images(
            DATA_DIR.value, SPLIT.value, image_size=size, batch_size=batch_size
        ).take(4)
    ]

    def forward():
        images = 0
        while images < total:
            batch = batches[images // batch_size % len(batches)]
            extractor._features(batch).numpy()
            images += len(batch)
        return images

    def extract():
        with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(io.StringIO()):
            extract_features(extractor, DATA_DIR.value, SPLIT.value, pathlib.Path(directory))
        return total

    title = f"extract   {BACKBONE.value}, {size} pixels, {total} images in batches of {batch_size}"
    report(title, alternate(dict(extract=extract, forward=forward)), "forward")


@contextlib.contextmanager
def one_core():
    """Keeps all threads of this process on one core."""
    before = os.sched_getaffinity(0)
    threads = [int(thread) for thread in os.listdir("/proc/self/task")]
    for thread in threads:
        os.sched_setaffinity(thread, {min(before)})
    try:
        yield
    finally:
        for thread in threads:
            os.sched_setaffinity(thread, before)


def measure_hog():
    """Prints the rates of HOG on one core."""
    try:
        from skimage.feature import hog
    except ModuleNotFoundError:
        print("hog       scikit-image is not installed: pip install scikit-image")
        return
    size = IMAGE_SIZE.value
    batch = next(
        iter(
            pipeline.evaluation_images(
                DATA_DIR.value, SPLIT.value, image_size=size, batch_size=_HOG_IMAGES
            )
        )
    )["image"]
    pixels = batch.numpy()

    def for_seconds(function):
        def call():
            start, images = time.perf_counter(), 0
            while time.perf_counter() - start < _HOG_SECONDS:
                images += function()
            return images

        return call

    for cell, block, orientations in HOG_SETTINGS:
        ours = tf.function(
            functools.partial(
                hog_blocks,
                orientations=orientations,
                pixels_per_cell=cell,
                cells_per_block=block,
            ),
            autograph=False,
        )
        options = dict(
            pixels_per_cell=(cell, cell),
            cells_per_block=(block, block),
            feature_vector=False,
            channel_axis=-1,
        )
        numbers = iter(range(10**9))

        def one_of_theirs(orientations=orientations, options=options, numbers=numbers):
            hog(pixels[next(numbers) % len(pixels)], orientations, **options)
            return 1

        def batch_of_ours(ours=ours):
            return len(ours(batch).numpy())

        expected = np.stack([hog(image, orientations, **options) for image in pixels])
        apart = np.abs(ours(batch).numpy() - expected.reshape(ours(batch).shape)).max()
        with one_core():
            found = alternate(
                dict(ours=for_seconds(batch_of_ours), skimage=for_seconds(one_of_theirs))
            )
        report(
            f"hog       {size} pixels, cells of {cell}, blocks of {block}, largest difference "
            f"{apart:.1e}",
            found,
            "skimage",
        )


def main():
    """Runs the comparisons."""
    for part in PARTS.value:
        dict(extract=measure_extract, hog=measure_hog)[part]()


if __name__ == "__main__":
    launch.launch(main, __doc__)

r"""Measures what the teacher's part of a transfer costs: features of a network, bags of HOG words.

    python -m tests.benchmarks.transfer --data_dir=RECORDS [--rounds=5] [--parts=extract,hog] \
        [--backbone=alexnet] [--image_size=64]

extract   images/s of extracting conv4 (VGG16: conv4_3) features, from the image shards to finished
          feature shards, over those of the same network and pooling alone on batches that lie in
          memory as pixels.
hog       images/s of our HOG blocks over those of `skimage.feature.hog` on the same pixels, both on
          one core, and how far apart the numbers are (left out where it is absent: pip install
          scikit-image).

The sides take turns in one process; a line gives minimum / median / maximum over the rounds.
"""

import contextlib
import dataclasses
import functools
import io
import os
import pathlib
import statistics
import tempfile
import time

import numpy as np
import tensorflow as tf

from ccssl_tf import registry
from ccssl_tf.data import image_batches
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features import extract_features
from ccssl_tf.features.endpoint import EndpointExtractor
from ccssl_tf.features.network_extractor import BatchSettings
from ccssl_tf.models import start
from ccssl_tf.ops.hog_blocks import hog_blocks
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import setting
from ccssl_tf.task import ImageSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(ImageSettings, BatchSettings):
    """What is measured."""

    data_dir: str = setting(help="Directory of image shards written by a data_prep command.")
    split: str = setting("train", "Split of the images.")
    rounds: int = setting(5, "Times everything is measured.", minimum=1)
    parts: tuple[str, ...] = setting(
        ("extract", "hog"), "What is measured.", choices=["extract", "hog"]
    )


COMMAND = Command(
    "tests.benchmarks.transfer",
    __doc__,
    (BenchmarkSettings,),
    selectors=("backbone", "init_backbone"),
    chosen=functools.partial(start.settings_classes, registry.BACKBONES),
)
# Cell, block, orientations: ours, that of small images, and scikit-image's default.
HOG_SETTINGS = ((8, 2, 9), (4, 2, 9), (8, 3, 9))
_HOG_IMAGES, _HOG_SECONDS = 32, 2.0


def spread(values, digits=2) -> str:
    """Returns "minimum / median / maximum"."""
    values = list(values)
    return " / ".join(
        f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )


def alternate(sides: dict, rounds: int) -> dict[str, list[float]]:
    """Returns images/s of each side by round; the first call is not counted.

    Args:
      sides: name -> a call that returns how many images it worked on.
      rounds: times every side is measured.
    """
    for function in sides.values():
        function()
    rates = {name: [] for name in sides}
    for number in range(rounds):
        names = list(sides)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.perf_counter()
            images = sides[name]()
            rates[name].append(images / (time.perf_counter() - began))
    return rates


def report(title, rates, over, digits=0):
    """Prints the rates and the ratio of the first side to `over`."""
    first = next(iter(rates))
    shown = ", ".join(f"{name} {spread(values, digits)}" for name, values in rates.items())
    ratios = (a / b for a, b in zip(rates[first], rates[over], strict=True))
    print(f"{title}: images/s {shown}; ratio {spread(ratios)}", flush=True)


def measure_extract(values):
    """Prints the rate of extraction over that of the network alone."""
    settings = values[BenchmarkSettings]
    size, batch_size = settings.image_size, settings.batch_size
    backbone = start.Start.from_values(registry.BACKBONES, values, image_size=size).build()
    endpoint = "conv4" if "conv4" in backbone.endpoint_names else "conv4_3"
    extractor = EndpointExtractor(
        backbone, endpoint=endpoint, image_size=size, batch_size=batch_size
    )
    total = Manifest.read(settings.data_dir, "images").num_examples(settings.split)
    batches = [
        batch["image"]
        for batch in image_batches.evaluation_images(
            settings.data_dir, settings.split, image_size=size, batch_size=batch_size
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
            extract_features(extractor, settings.data_dir, settings.split, pathlib.Path(directory))
        return total

    title = f"extract   {backbone.name}, {size} pixels, {total} images in batches of {batch_size}"
    sides = dict(extract=extract, forward=forward)
    report(title, alternate(sides, settings.rounds), "forward")


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


def measure_hog(values):
    """Prints the rates of HOG on one core."""
    try:
        from skimage.feature import hog
    except ModuleNotFoundError:
        print("hog       scikit-image is not installed: pip install scikit-image")
        return
    settings = values[BenchmarkSettings]
    size = settings.image_size
    batch = next(
        iter(
            image_batches.evaluation_images(
                settings.data_dir, settings.split, image_size=size, batch_size=_HOG_IMAGES
            )
        )
    )["image"]
    pixels = batch.numpy()

    def for_seconds(function):
        def call():
            began, images = time.perf_counter(), 0
            while time.perf_counter() - began < _HOG_SECONDS:
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
            sides = dict(ours=for_seconds(batch_of_ours), skimage=for_seconds(one_of_theirs))
            rates = alternate(sides, settings.rounds)
        report(
            f"hog       {size} pixels, cells of {cell}, blocks of {block}, largest difference "
            f"{apart:.1e}",
            rates,
            "skimage",
        )


def main(values):
    """Runs the comparisons."""
    for part in values[BenchmarkSettings].parts:
        dict(extract=measure_extract, hog=measure_hog)[part](values)


if __name__ == "__main__":
    launch(COMMAND, main)

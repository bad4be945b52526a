r"""Measures what an image costs in every stage here, and calculates what data cost elsewhere.

    python -m tests.benchmarks.scale --data_dir=RECORDS [--images=1281167] [--devices=1] \
        [--device_tflops=200] [--cores=16] [--disk_gb_s=2]

Measured: core-seconds an image of conversion (data_prep.tfrecord_import of RECORDS) and of the
input pipeline (read, decode, crop to 227), seconds of a training step of VGG16 and AlexNet and of
VGG16's forward pass, of a pass of k-means a row, and this machine's rate of large float32 matrix
products.

Calculated: a device that multiplies matrices --device_tflops fast takes as many times less as that
is more than the rate here: so it is assumed to reach the same share of its peak, all devices to
work without waiting for each other, and the disk to be read once a pass. What takes longest is what
saturates first. Steps and sizes are the paper's.
"""

import dataclasses
import subprocess
import sys
import tempfile
import time

import tensorflow as tf

from ccssl_tf.data import image_batches
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.runs import machine
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import Settings, setting
from ccssl_tf.runs.values import Values
from tests.benchmarks.pretext import matrix_peak, ours_step, seconds_per_call

# The paper's: features of conv4_3 in 9,600 numbers, 2,000 clusters, 350,000 steps of 256 images of
# the pretext task and 450,000 of the student, of 1,281,167 images.
DIM, NUM_CLUSTERS = 9600, 2000
PRETEXT_EPOCHS = 350_000 * 256 / 1_281_167
STUDENT_EPOCHS = 450_000 * 256 / 1_281_167
KMEANS_PASSES = 100
FEATURE_BYTES = 2 * DIM
_BATCH = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaleSettings(Settings):
    """What is measured, and for which data and machines it is calculated."""

    data_dir: str = setting(
        help="Image shards of a data_prep command, of photos of about 256 pixels."
    )
    images: int = setting(1_281_167, "Images of the data set to calculate for.", minimum=1)
    devices: int = setting(1, "GPUs in all.", minimum=1)
    device_tflops: float = setting(
        200.0, "Rate of one at large float32 (TF32) matrix products.", unit="TFLOP/s", minimum=0.001
    )
    cores: int = setting(16, "CPU cores in all.", minimum=1)
    disk_gb_s: float = setting(2.0, "What the storage reads in all.", unit="GB/s", minimum=0.001)
    source_kb: float = setting(110.0, "Bytes of an original image.", unit="kB", minimum=0.001)


COMMAND = Command("tests.benchmarks.scale", __doc__, (ScaleSettings,))


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one image costs in a stage, once: seconds here of all cores, core-seconds, bytes."""

    name: str
    passes: float = 1.0
    device_seconds: float = 0.0
    core_seconds: float = 0.0
    num_bytes: float = 0.0


def conversion_seconds(data_dir) -> float:
    """Returns the core-seconds an image of converting the records again."""
    manifest = Manifest.read(data_dir, "images")
    count = sum(map(manifest.num_examples, manifest.splits))
    with tempfile.TemporaryDirectory() as directory:
        command = ("data_prep.tfrecord_import", f"--source={data_dir}")
        line = [sys.executable, "-m", *command, f"--output_dir={directory}/images"]
        started = time.perf_counter()
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - started) * machine.num_cores() / count


def input_seconds(data_dir) -> float:
    """Returns the core-seconds an image of reading, decoding, cropping and mirroring."""
    manifest = Manifest.read(data_dir, "images")
    batches = min(manifest.num_examples("train"), 8192) // _BATCH
    dataset = image_batches.augmented_images(data_dir, "train", Epoch(_BATCH), image_size=227)
    iterator = iter(dataset.take(batches))
    next(iterator)
    started = time.perf_counter()
    count = sum(_BATCH for _ in iterator)
    return (time.perf_counter() - started) * machine.num_cores() / count


def forward_seconds() -> float:
    """Returns the seconds of VGG16's features of an image of 224 pixels."""
    backbone, images = VGG16(image_size=224), tf.random.normal([8, 224, 224, 3])

    @tf.function(autograph=False)
    def forward():
        return tf.reduce_sum(backbone(images, training=False)["conv4_3"])

    return seconds_per_call(lambda: forward().numpy()) / 8


def kmeans_seconds() -> float:
    """Returns the seconds a row of a pass at D = 9,600 and K = 2,000: the product of distances."""
    rows, centroids = tf.random.normal([2048, DIM]), tf.random.normal([DIM, NUM_CLUSTERS])

    @tf.function(autograph=False)
    def nearest():
        return tf.reduce_sum(tf.argmax(tf.matmul(rows, centroids), 1))

    return seconds_per_call(lambda: nearest().numpy()) / 2048


def measured(settings) -> list[Cost]:
    """Returns the cost of an image in every stage."""
    manifest = Manifest.read(settings.data_dir, "images")
    shards = manifest.shards("train")
    stored = sum(shard.num_bytes for shard in shards) / manifest.num_examples("train")
    decoded = input_seconds(settings.data_dir)
    vgg16 = seconds_per_call(ours_step(VGG16, 224, 8, jit=False)) / 8
    alexnet = seconds_per_call(ours_step(AlexNet, 227, 32, jit=False)) / 32
    converted = conversion_seconds(settings.data_dir)
    source = 1000 * settings.source_kb + stored
    return [
        Cost("convert", core_seconds=converted, num_bytes=source),
        Cost("(a) pretext task, VGG16", PRETEXT_EPOCHS, vgg16, decoded, stored),
        Cost("(b) features, VGG16", 1, forward_seconds(), decoded, stored + FEATURE_BYTES),
        Cost("(b) k-means, 100 passes", KMEANS_PASSES, kmeans_seconds(), 0.0, FEATURE_BYTES),
        Cost("(c) pseudo-labels", 1, kmeans_seconds(), 0.0, FEATURE_BYTES),
        Cost("(d) student, AlexNet", STUDENT_EPOCHS, alexnet, decoded, stored),
    ]


def main(values: Values):
    """Measures and prints two tables."""
    settings = values[ScaleSettings]
    peak = matrix_peak()
    costs = measured(settings)
    print(f"\nmeasured on {machine.description()}, {peak / 1e9:.0f} GFLOP/s\n")
    print("| stage | device ms an image | core ms | kB read or written |\n|---|---|---|---|")
    for cost in costs:
        print(
            f"| {cost.name} | {1e3 * cost.device_seconds:.3g} | {1e3 * cost.core_seconds:.3g} | "
            f"{cost.num_bytes / 1e3:.1f} |"
        )
    device_rate = settings.devices * settings.device_tflops * 1e12 / peak
    print(
        f"\ncalculated for {settings.images:,} images, {settings.devices} device(s) of "
        f"{settings.device_tflops:g} TFLOP/s, {settings.cores} cores, {settings.disk_gb_s:g} GB/s\n"
    )
    print("| stage | passes | devices h | cores h | storage h | saturates first |")
    print("|---|---|---|---|---|---|")
    for cost in costs:
        each = settings.images * cost.passes / 3600
        hours = dict(
            devices=each * cost.device_seconds / device_rate,
            cores=each * cost.core_seconds / settings.cores,
            storage=each * cost.num_bytes / (settings.disk_gb_s * 1e9),
        )
        shown = " | ".join(f"{value:.3g}" for value in hours.values())
        first = max(hours, key=lambda name: hours[name])
        print(f"| {cost.name} | {cost.passes:.3g} | {shown} | {first} |")
    features = settings.images * FEATURE_BYTES / 1e9
    print(f"\nfeatures take {features:,.0f} GB, centroids {4 * DIM * NUM_CLUSTERS / 1e6:.0f} MB")


if __name__ == "__main__":
    launch(COMMAND, main)

"""Measures what probing all layers at once costs beside probing one.

    python -m tests.benchmarks.linear_probe [--probe_batch_size=256] [--probe_rounds=3]

A training step of the linear probe of AlexNet at 227 pixels with 1000 classes, the grids of the
paper, SGD with momentum, on a batch that lies in memory: all five layers on one pass through the
frozen network, and each layer alone. Bound: 1.3 times the dearest layer. It is also a part of
`tests.benchmarks.evaluation`.
"""

import dataclasses
import statistics
import time

import keras
import tensorflow as tf

from ccssl_tf.downstream.linear_probe import LinearClassifiers, pooled_features
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import Settings, setting
from ccssl_tf.runs.values import Values


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeSettings(Settings):
    """The steps of the linear probe."""

    probe_batch_size: int = setting(256, "Images a step.", minimum=1, paper=256)
    probe_rounds: int = setting(3, "Times every probe is measured, in turn.", minimum=1)


COMMAND = Command("tests.benchmarks.linear_probe", __doc__, (ProbeSettings,))
GRIDS = dict(conv1=10, conv2=6, conv3=5, conv4=5, conv5=6)
_IMAGE_SIZE, _CLASSES = 227, 1000


def probe_step(backbone, grids, images, labels):
    """Returns a call that takes one training step of the probe of these layers."""
    model = LinearClassifiers(backbone, grids, _CLASSES, _IMAGE_SIZE)
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    values = [variable.value for variable in model.trainable_variables]

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            logits = model.classify(
                tf.stop_gradient(pooled_features(backbone, grids, images)), training=True
            )
            loss = tf.add_n(
                [
                    tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, of_layer))
                    for of_layer in logits.values()
                ]
            )
        optimizer.apply(tape.gradient(loss, values), model.trainable_variables)
        return loss

    return lambda: step().numpy()


def measure(settings: ProbeSettings) -> str:
    """Returns what to print: the seconds of a step of all layers and of the dearest one, and the
    minimum / median / maximum of their ratios by round.
    """
    backbone = AlexNet(fc_units=())
    backbone.trainable = False
    shape = [settings.probe_batch_size, _IMAGE_SIZE, _IMAGE_SIZE, 3]
    images = tf.cast(tf.random.uniform(shape, maxval=256, dtype=tf.int32), tf.uint8)
    labels = tf.random.uniform(shape[:1], maxval=_CLASSES, dtype=tf.int64)
    probes = {"all": GRIDS} | {layer: {layer: grid} for layer, grid in GRIDS.items()}
    steps = {name: probe_step(backbone, grids, images, labels) for name, grids in probes.items()}
    seconds = {name: [] for name in steps}
    for number in range(settings.probe_rounds + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if number:
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    dearest = max(GRIDS, key=medians.get)
    ratios = [whole / part for whole, part in zip(seconds["all"], seconds[dearest], strict=True)]
    spread = " / ".join(
        f"{value:.2f}" for value in (min(ratios), statistics.median(ratios), max(ratios))
    )
    times = (
        f"{medians['all']:.2f} s a step of {settings.probe_batch_size} images, {dearest} alone "
        f"{medians[dearest]:.2f}"
    )
    return f"five layers over the dearest: {spread} ({times}; bound 1.3)"


def main(values: Values):
    """Measures."""
    print(f"linear_probe       {measure(values[ProbeSettings])}", flush=True)


if __name__ == "__main__":
    launch(COMMAND, main)

r"""Measures what the evaluations cost, against the bounds they are held to.

    python -m tests.benchmarks.evaluation [--parts=average_precision,roi_pooling,linear_probe] \
        [--rounds=5] [--short_side=600]

average_precision   seconds of detection average precision over 5,000 images, 20 classes and 100
                    boxes an image in all, on one core (bound: 10 s).
roi_pooling         share of RoI pooling, forward and backward, of 128 regions in a detection
                    training step of AlexNet: two photos of `--short_side` pixels (bound: 15%). The
                    step has no optimizer, which would only make the share smaller.
linear_probe        a step of the five-layer linear probe over one of its dearest layer alone
                    (bound: 1.3; `tests.benchmarks.linear_probe`).

A line gives minimum / median / maximum over the rounds; the two sides of a share take turns. A
further part is a function in PARTS.
"""

import dataclasses
import statistics
import time

import numpy as np
import tensorflow as tf

from ccssl_tf.layers import RoIPool
from ccssl_tf.metrics import detection_average_precision
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.fast_rcnn import build_fast_rcnn
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import setting
from ccssl_tf.runs.values import Values
from tests.benchmarks import linear_probe

_IMAGES, _CLASSES, _BOXES_OF_IMAGE = 5000, 20, 100


def spread(values, digits=2) -> str:
    """Returns "minimum / median / maximum"."""
    values = list(values)
    return " / ".join(
        f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )


def average_precision(settings: "EvaluationSettings") -> str:
    """Returns the seconds of all classes."""
    random, seconds = np.random.default_rng(0), []
    count = _IMAGES * _BOXES_OF_IMAGE // _CLASSES

    def boxes(number):
        corners = random.uniform(1, 400, [number, 2])
        return np.hstack([corners, corners + random.uniform(10, 100, [number, 2])])

    def of_class():
        detections = random.integers(0, _IMAGES, count), random.random(count), boxes(count)
        return *detections, random.integers(0, _IMAGES, 750), boxes(750), random.random(750) < 0.1

    classes = [of_class() for _ in range(_CLASSES)]
    for _ in range(settings.rounds):
        started = time.process_time()
        for one in classes:
            detection_average_precision(*one)
        seconds.append(time.process_time() - started)
    return f"{spread(seconds)} s of one core for {_CLASSES} classes (bound 10)"


def roi_pooling(settings: "EvaluationSettings") -> str:
    """Returns the share of RoI pooling in a training step."""
    random = np.random.default_rng(0)
    height, width = settings.short_side, settings.short_side * 4 // 3
    means, deviations = np.zeros([20, 4]), np.ones([20, 4])
    model = build_fast_rcnn(
        AlexNet(fc_units=()),
        fc_units=(4096, 4096),
        dropout_rate=0.5,
        code_means=means,
        code_deviations=deviations,
    )
    images = tf.constant(random.normal(0, 50, [2, height, width, 3]), tf.float32)
    corners = np.sort(random.random([128, 2, 2]), axis=1) * [width - 1, height - 1]
    rois = tf.constant(
        np.hstack([np.repeat([0, 1], 64)[:, None], corners.reshape(128, 4)]), tf.float32
    )
    maps = model.backbone(images)["conv5"]
    labels, layer = tf.constant(random.integers(0, 21, 128)), RoIPool()
    variables = [variable.value for variable in model.trainable_variables]

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            outputs = model([images, rois], training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs["logits"])
            loss = tf.reduce_mean(losses) + tf.reduce_mean(tf.abs(outputs["codes"]))
        return [tf.reduce_sum(gradient) for gradient in tape.gradient(loss, variables)]

    @tf.function(autograph=False)
    def pooling():
        with tf.GradientTape() as tape:
            tape.watch(maps)
            pooled = layer(maps, rois)
        return tape.gradient(pooled, maps, upstream)

    upstream = tf.constant(random.normal(size=[128, 6, 6, maps.shape[3]]), tf.float32)
    seconds = {step: [], pooling: []}
    for number in range(settings.rounds + 1):
        for function, durations in seconds.items():
            started = time.perf_counter()
            function()
            if number:
                durations.append(time.perf_counter() - started)
    shares = [
        100 * part / whole for part, whole in zip(seconds[pooling], seconds[step], strict=True)
    ]
    times = (
        f"{1000 * statistics.median(seconds[pooling]):.0f} of "
        f"{1000 * statistics.median(seconds[step]):.0f} ms"
    )
    return f"{spread(shares, 1)} % of a step on {height} x {width} pixels, {times} (bound 15)"


PARTS = dict(
    average_precision=average_precision, roi_pooling=roi_pooling, linear_probe=linear_probe.measure
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings(linear_probe.ProbeSettings):
    """What is measured."""

    parts: tuple[str, ...] = setting(tuple(PARTS), "What is measured.", choices=tuple(PARTS))
    rounds: int = setting(5, "Times everything but the linear probe is measured.", minimum=1)
    short_side: int = setting(
        600,
        "Shorter side of the photos of detection; the longer one is 4/3 of it.",
        unit="pixels",
    )


COMMAND = Command("tests.benchmarks.evaluation", __doc__, (EvaluationSettings,))


def main(values: Values):
    """Measures the parts."""
    settings = values[EvaluationSettings]
    for name in settings.parts:
        print(f"{name:18} {PARTS[name](settings)}", flush=True)


if __name__ == "__main__":
    launch(COMMAND, main)

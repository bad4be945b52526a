"""Measures what probing all layers at once costs beside probing one.

python -m tests.benchmarks.linear_probe --data_dir=RECORDS [--rounds=3] [--probe_batch_size=256]

A training step of the linear probe of AlexNet at 227 pixels with 1000 classes, the grids of the paper, SGD with momentum, on a batch that
lies in memory: all five layers on one pass through the frozen network, and each layer alone. The sides take turns in one process; a line
gives minimum / median / maximum over the rounds.
"""

import statistics
import time

import keras
import tensorflow as tf
from absl import flags

from ccssl_tf import runtime, training
from ccssl_tf.downstream.linear_probe import LinearProbe
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.stage_flags import DATA_DIR

PROBE_ROUNDS = flags.DEFINE_integer("rounds", 3, "Times everything is measured.", lower_bound=1)
PROBE_BATCH_SIZE = flags.DEFINE_integer("probe_batch_size", 256, "Images a step (256 in the paper).", lower_bound=1)

GRIDS = dict(conv1=10, conv2=6, conv3=5, conv4=5, conv5=6)
_IMAGE_SIZE, _CLASSES = 227, 1000


def probe_step(layers, batch_size):
    """Returns a call that takes one training step of the probe of these layers."""
    grids = [GRIDS[layer] for layer in layers]
    task = LinearProbe(data_dir=DATA_DIR.value, image_size=_IMAGE_SIZE, endpoints=list(layers), grids=grids, cache_features=False)
    task.class_names = [str(number) for number in range(_CLASSES)]
    model = task.build_model(AlexNet(fc_units=()))
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    shape = [batch_size, _IMAGE_SIZE, _IMAGE_SIZE, 3]
    batch = dict(
        image=tf.cast(tf.random.uniform(shape, maxval=256, dtype=tf.int32), tf.uint8),
        label=tf.random.uniform([batch_size], maxval=_CLASSES, dtype=tf.int64),
    )
    step = training._step_function(task, model, optimizer, tf.distribute.get_strategy(), batch_size, 1, False, weight_decay=5e-4)
    return lambda: step(batch)["loss"].numpy()


def spread(values) -> str:
    """Returns "minimum / median / maximum"."""
    return " / ".join(f"{value:.2f}" for value in (min(values), statistics.median(values), max(values)))


def main():
    """Times the sides in turn and prints them, and all layers over the dearest."""
    sides = {"all": probe_step(GRIDS, PROBE_BATCH_SIZE.value)} | {layer: probe_step([layer], PROBE_BATCH_SIZE.value) for layer in GRIDS}
    for step in sides.values():
        step()
    seconds = {name: [] for name in sides}
    for _ in range(PROBE_ROUNDS.value):
        for name, step in sides.items():
            start = time.perf_counter()
            step()
            step()
            seconds[name].append((time.perf_counter() - start) / 2)
    for name, found in seconds.items():
        print(f"{name:6} {spread(found)} s a step of {PROBE_BATCH_SIZE.value} images", flush=True)
    dearest = max(GRIDS, key=lambda layer: statistics.median(seconds[layer]))
    ratios = [a / b for a, b in zip(seconds["all"], seconds[dearest], strict=True)]
    print(f"all layers / {dearest}: {spread(ratios)}", flush=True)


if __name__ == "__main__":
    runtime.launch(main, __doc__)

"""What probing all layers at once costs beside probing one: a part of
`tests.benchmarks.evaluation`.

python -m tests.benchmarks.linear_probe [--probe_batch_size=256] [--probe_rounds=3]

A training step of the linear probe of AlexNet at 227 pixels with 1000 classes, the grids of the
paper, SGD with momentum, on a batch that lies in memory: all five layers on one pass through the
frozen network, and each layer alone. Bound: 1.3 times the dearest layer.
"""

import statistics
import time

import keras
import tensorflow as tf
from absl import flags

from ccssl_tf.downstream.linear_probe import LinearClassifiers, pooled_features
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.runs import launch

PROBE_BATCH_SIZE = flags.DEFINE_integer(
    "probe_batch_size", 256, "Images a step (256 in the paper).", lower_bound=1
)
PROBE_ROUNDS = flags.DEFINE_integer(
    "probe_rounds", 3, "Times every probe is measured, in turn.", lower_bound=1
)

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


def measure() -> str:
    """Returns seconds a step of all layers and of the dearest one, and their ratio by round:
    minimum / median / maximum.
    """
    backbone = AlexNet(fc_units=())
    backbone.trainable = False
    shape = [PROBE_BATCH_SIZE.value, _IMAGE_SIZE, _IMAGE_SIZE, 3]
    images = tf.cast(tf.random.uniform(shape, maxval=256, dtype=tf.int32), tf.uint8)
    labels = tf.random.uniform(shape[:1], maxval=_CLASSES, dtype=tf.int64)
    probes = {"all": GRIDS} | {layer: {layer: grid} for layer, grid in GRIDS.items()}
    steps = {name: probe_step(backbone, grids, images, labels) for name, grids in probes.items()}
    seconds = {name: [] for name in steps}
    for number in range(PROBE_ROUNDS.value + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if number:
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    dearest = max(GRIDS, key=medians.get)
    ratios = [whole / part for whole, part in zip(seconds["all"], seconds[dearest], strict=True)]
    spread = " / ".join(
        f"{value:.2f}" for value in (min(ratios), statistics.median(ratios), max(ratios))
    )
    times = (
        f"{medians['all']:.2f} s a step of {PROBE_BATCH_SIZE.value} images, {dearest} alone "
        f"{medians[dearest]:.2f}"
    )
    return f"five layers over the dearest: {spread} ({times}; bound 1.3)"


def main():
    """Measures."""
    print(f"linear_probe       {measure()}", flush=True)


if __name__ == "__main__":
    launch.launch(main, __doc__)

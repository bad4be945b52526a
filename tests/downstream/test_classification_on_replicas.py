"""The classification evaluations end alike on one device, on two, and with a batch in parts:
weights, clipped gradients and numbers.
"""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

REPLICAS = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np
name, data_dir, root = sys.argv[1:]
from ccssl_tf import training
from ccssl_tf.distribution import make_strategy
from ccssl_tf.downstream.linear_probe import LinearProbe
from ccssl_tf.downstream.nonlinear_probe import NonlinearProbe
from ccssl_tf.downstream.voc07_classification import Voc07Classification
from ccssl_tf.models.alexnet import AlexNet, AlexNetSettings
from ccssl_tf.training import OptimizerSettings
KINDS = dict(
    linear_probe=(LinearProbe, dict(probe_grids=(2,), cache_features=True, cache_memory_gb=0.0)),
    nonlinear_probe=(NonlinearProbe, dict(frozen_until="conv2")),
    voc07_classification=(Voc07Classification, dict(random_crops=2)),
)
# One strategy a process: a second one would number its collective operations as the first did.
one, two = make_strategy("one"), make_strategy("mirrored")
assert two.num_replicas_in_sync == 2

def run(strategy, parts):
    keras.utils.set_random_seed(0)
    workdir = f"{root}/{strategy.num_replicas_in_sync}-{parts}"
    kind, settings = KINDS[name]
    if name == "linear_probe":
        settings = dict(settings, workdir=workdir)
    task = kind(data_dir=data_dir, image_size=32, **settings)

    def build():
        architecture = AlexNetSettings(width_multiplier=0.05, normalization="none")
        options = dict(image_size=32, with_fc=task.with_fc, colors=task.colors)
        return AlexNet.from_settings(architecture, **options)

    # Shorter than the gradients are, so that every step is clipped.
    rules = dict(clip_gradients=0.5, decay_biases=True, weight_decay=1e-2)
    optimizer = OptimizerSettings(
        learning_rate=0.1, learning_rate_schedule="constant", **rules
    )
    options = dict(train_steps=4, batch_size=16, log_steps=1, accumulate_steps=parts)
    options |= dict(strategy=strategy, workdir=workdir)
    trained = training.train(task, build, optimizer=optimizer, **options)
    with strategy.scope():
        result = task.evaluate(trained.model)
        for layer, right in task.outcomes(trained.model).items():
            np.testing.assert_allclose(right.mean(), result.metrics[f"accuracy/{layer}"], rtol=1e-6)
    # Of a ranking the scores are compared: two that are nearly equal change places by rounding.
    numbers = result.metrics if result.shown is None else dict(scores=result.shown[0])
    return trained.model, numbers

(plain, expected), (model, metrics) = run(one, 1), run(two, 1 if name == "linear_probe" else 2)
# Keras takes the variance over replicas as mean of squares less square of mean: of features that
# hardly vary (here by 1/300 of their mean) 0.5% of it is rounding.
tolerance = dict(rtol=1e-2, atol=1e-4) if name == "linear_probe" else dict(rtol=1e-4, atol=2e-5)
for ours, theirs in zip(plain.variables, model.variables, strict=True):
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), err_msg=ours.path, **tolerance)
assert expected.keys() == metrics.keys()
for key, value in expected.items():
    np.testing.assert_allclose(metrics[key], value, rtol=1e-3, atol=1e-5, err_msg=key)
print("equal")
"""


@pytest.mark.parametrize(
    "name",
    [
        "voc07_classification",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("nonlinear_probe", "linear_probe")
        ),
    ],
)
def test_two_logical_devices_and_a_batch_in_parts_end_with_the_weights_of_one(
    name, image_dir, voc_dir, tmp_path
):
    data_dir = voc_dir if name == "voc07_classification" else image_dir
    arguments = [sys.executable, "-c", REPLICAS, name, str(data_dir), str(tmp_path)]
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=600, cwd=ROOT, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stdout + done.stderr

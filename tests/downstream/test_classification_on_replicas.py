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
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np
from absl import flags
from absl.testing import flagsaver
name, data_dir, root = sys.argv[1:]
from ccssl_tf.training import optimizers
from ccssl_tf import registry
from ccssl_tf import training
from ccssl_tf.distribution import make_strategy
flags.FLAGS(["test"])
settings = dict(data_dir=data_dir, image_size=32, width_multiplier=0.05, random_crops=2, frozen_until="conv2", probe_grids=["2"] * 5)
settings |= dict(normalization="none", cache_features=True, cache_memory_gb=0)
# One strategy a process: a second one would number its collective operations as the first did.
one, two = make_strategy("one"), make_strategy("mirrored")
assert two.num_replicas_in_sync == 2

def run(strategy, parts):
    keras.utils.set_random_seed(0)
    workdir = f"{root}/{strategy.num_replicas_in_sync}-{parts}"
    with flagsaver.flagsaver(**settings, workdir=workdir):
        task = registry.TASKS[name].from_flags()

        def build():
            return registry.BACKBONES["alexnet"].from_flags(image_size=32, with_fc=task.with_fc, colors=task.colors)

        # Shorter than the gradients are, so that every step is clipped.
        rules = dict(clip_norm=0.5, decay_biases=True, weight_decay=1e-2, bias_multiplier=2.0)
        options = dict(train_steps=4, batch_size=16, log_steps=1, accumulate_steps=parts, strategy=strategy, **rules)
        model, metrics, _ = training.train(task, build, lambda: optimizers.make_optimizer("sgd", 0.1), workdir=workdir, **options)
    return model, metrics["evaluation"]

(plain, expected), (model, metrics) = run(one, 1), run(two, 1 if name == "linear_probe" else 2)
# Keras takes the variance over replicas as mean of squares less square of mean: of features that hardly vary (here by 1/300 of their
# mean) 0.5% of it is rounding.
tolerance = dict(rtol=1e-2, atol=1e-4) if name == "linear_probe" else dict(rtol=1e-4, atol=2e-5)
for ours, theirs in zip(plain.variables, model.variables, strict=True):
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), err_msg=ours.path, **tolerance)
assert expected.keys() == metrics.keys()
for key, value in expected.items():
    np.testing.assert_allclose(metrics[key], value, rtol=1e-3, atol=1e-5, err_msg=key)
print("equal")
"""  # noqa: E501


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

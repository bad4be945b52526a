"""A run goes on with another number of replicas: the same global batch, the same weights to within
rounding.
"""

import os
import pathlib
import subprocess
import sys

import pytest

# One mirrored strategy a process: a second would number its collective operations as the first.
SCRIPT = """
import pathlib, shutil, sys
import tensorflow as tf
tests, image_dir, workdir, first, then, devices = sys.argv[1:]
cpu = tf.config.list_physical_devices("CPU")[0]
configuration = [tf.config.LogicalDeviceConfiguration()] * int(devices)
tf.config.set_logical_device_configuration(cpu, configuration)
import numpy as np
sys.path.insert(0, f"{tests}/training")
from ccssl_tf.distribution import make_strategy
import test_loop

def run(name, strategy):
    return test_loop.run(
        test_loop.tiny_task(image_dir), f"{workdir}/{name}", 6, optimizer=test_loop.SGD,
        strategy=strategy, checkpoint_steps=3, batch_size=8 * int(devices),
    )

strategies = {name: make_strategy(name) for name in (first, then)}
replicas = [strategies[name].num_replicas_in_sync for name in (first, then)]
straight = run("straight", strategies[first])
shutil.copytree(f"{workdir}/straight", f"{workdir}/continued")
for path in pathlib.Path(workdir, "continued/checkpoints").glob("ckpt-6*"):
    path.unlink()
continued = run("continued", strategies[then])
for one, other in zip(straight.model.variables, continued.model.variables, strict=True):
    np.testing.assert_allclose(
        one.numpy(), other.numpy(), rtol=1e-5, atol=2e-5, err_msg=one.path
    )
records = [trained.metrics["history"]["train"] for trained in (straight, continued)]
assert [record["step"] for record in records[1]] == [record["step"] for record in records[0]]
losses = [[record["loss"] for record in of_one] for of_one in records]
np.testing.assert_allclose(*losses, rtol=1e-4)
print("from", *replicas)
"""


@pytest.mark.parametrize(
    "first, then, devices, told",
    [
        ("one", "mirrored", 2, "from 1 2"),
        pytest.param("mirrored", "one", 4, "from 4 1", marks=pytest.mark.slow),
    ],
)
def test_the_weights_are_those_of_a_run_on_one_number(
    image_dir, tmp_path, first, then, devices, told
):
    tests = pathlib.Path(__file__).parents[1]
    words = [str(tests), str(image_dir), str(tmp_path), first, then, str(devices)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        capture_output=True,
        text=True,
        timeout=1200,
        env=dict(os.environ, PYTHONPATH=str(tests.parent)),
    )
    assert done.stdout.splitlines()[-1:] == [told], done.stdout + done.stderr
    assert "from step 3" in done.stdout

"""A distillation ends alike on one device, on two, and with a batch in parts; its teacher stays as
it was and out of checkpoints.
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
name, image_dir, teacher, workdir = sys.argv[1:]
from ccssl_tf import registry
from ccssl_tf import training
from ccssl_tf.distribution import make_strategy
from ccssl_tf.knowledge_transfer.attention_transfer import AttentionTransfer
from ccssl_tf.models.alexnet import AlexNet, AlexNetSettings
from ccssl_tf.models.backbone_file import load_backbone
from ccssl_tf.training.optimizers import OptimizerSettings
images = dict(data_dir=image_dir, image_size=32)
taught = dict(images, teacher_backbone=teacher)
puzzles = dict(num_permutations=6, permutations_per_image=2, tile_fc6_units=8, puzzle_fc7_units=8)
optimizer = OptimizerSettings(optimizer="sgd", learning_rate=1e-3, weight_decay=0.0, bias_learning_rate_multiplier=1.0)
# One strategy a process: a second one would number its collective operations as the first did.
one, two = make_strategy("one"), make_strategy("mirrored")
assert two.num_replicas_in_sync == 2
before = {variable.numpy().tobytes() for variable in load_backbone(teacher).variables}

def run(strategy, parts, normalization):
    keras.utils.set_random_seed(0)
    kind = registry.TASKS[name]
    if kind is AttentionTransfer:
        task = kind(registry.TASKS["jigsaw_pp"](**images, **puzzles), **taught)
    else:
        task = kind(**taught)
    architecture = AlexNetSettings(width_multiplier=0.05, normalization=normalization)

    def build():
        return AlexNet.from_settings(architecture, image_size=32, with_fc=task.with_fc, colors=task.colors)

    options = dict(train_steps=3, batch_size=32, log_steps=1, accumulate_steps=parts, strategy=strategy)
    directory = f"{workdir}/{strategy.num_replicas_in_sync}-{parts}-{normalization}"
    model, metrics, _ = training.train(task, build, optimizer=optimizer, workdir=directory, **options)
    saved = tf.train.list_variables(tf.train.latest_checkpoint(f"{directory}/checkpoints"))
    assert sum(entry.startswith("variables/") for entry, _ in saved) == len(model.variables)
    assert before <= {variable.numpy().tobytes() for variable in task.teacher(model).variables}
    return model, metrics["evaluation"]

# Parts of a batch are normalised on their own.
for parts, normalization in ((1, "batch_norm"), (2, "none")):
    (plain, expected), (model, metrics) = run(one, 1, normalization), run(two, parts, normalization)
    for ours, theirs in zip(plain.variables, model.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=2e-5, err_msg=ours.path)
    for key, value in expected.items():
        np.testing.assert_allclose(metrics[key], value, rtol=1e-3, atol=1e-5, err_msg=key)
print("equal")
"""  # noqa: E501


@pytest.mark.parametrize(
    "name",
    [
        "feature_regression",
        pytest.param("attention_transfer", marks=pytest.mark.slow),
        pytest.param("logits_distillation", marks=pytest.mark.slow),
    ],
)
def test_two_logical_devices_and_a_batch_in_parts_end_with_the_weights_of_one(
    name, image_dir, alexnet_teacher, tmp_path
):
    arguments = [
        sys.executable,
        "-c",
        REPLICAS,
        name,
        str(image_dir),
        str(alexnet_teacher),
        str(tmp_path),
    ]
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=600, cwd=ROOT, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stdout + done.stderr

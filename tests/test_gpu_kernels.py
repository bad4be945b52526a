"""Every operation of every training and clustering step has a kernel for GPUs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from gpu_kernels import ops_without_gpu_kernel
from test_registry import flags_of, parse, start_of, train_command  # noqa: F401

from ccssl_tf import registry
from ccssl_tf.clustering.device import lloyd, minibatch, minibatch_replica, minibatch_state, rows
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader
from ccssl_tf.clustering.rows.preprocessing import Preprocessing
from ccssl_tf.clustering.rows.sources import ArraySource
from ccssl_tf.clustering.start import kmeans_plus_plus
from ccssl_tf.task import Epoch
from ccssl_tf.training import OptimizerSettings
from ccssl_tf.training.step import step_function

RULES = OptimizerSettings(clip_gradients=1.0, weight_decay=1e-4)
STRATEGY = tf.distribute.get_strategy()
SCALAR = tf.TensorSpec([], tf.int64)


def missing_ops(function, *arguments):
    traced = tf.function(function, autograph=False).get_concrete_function(*arguments)
    return ops_without_gpu_kernel(traced)


def test_what_a_gpu_cannot_compute_is_seen():
    vector = tf.TensorSpec([8], tf.float32)
    assert missing_ops(lambda x: tf.nn.relu(x) + 1, vector) == []
    assert missing_ops(tf.random.shuffle, vector) == ["RandomShuffle(T=float32)"]
    (python,) = missing_ops(lambda x: tf.numpy_function(np.sin, [x], tf.float32), vector)
    assert python.startswith("PyFunc")
    assert missing_ops(
        lambda x: tf.while_loop(
            lambda i, _: i < 3, lambda i, x: [i + 1, tf.random.shuffle(x)], [0, x]
        ),
        vector,
    ) == ["RandomShuffle(T=float32)"]
    bytes_ = tf.TensorSpec([8], tf.uint8)
    assert missing_ops(lambda x: tf.stack([x, x]), bytes_) == ["Pack(T=uint8)"]


@pytest.mark.parametrize("name", registry.TASKS)
def test_training_steps(name, flags_of):  # noqa: F811
    values = parse(name, flags_of[name], width_multiplier=0.05)
    task = train_command.build_task(values)
    options = dict(with_fc=task.with_fc, colors=task.colors, keep_fc=task.keep_fc)
    model = task.build_model(start_of(values, task).build(**options))
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    optimizer.build(model.trainable_variables)
    batch = task.dataset(task.train_split, Epoch(16), model).element_spec
    step = step_function(task, model, optimizer, STRATEGY, RULES, batch_size=16)
    assert ops_without_gpu_kernel(step.get_concrete_function(batch)) == []


@pytest.fixture(scope="module")
def device_rows():
    reader = ChunkReader(ArraySource(np.eye(60, 8, dtype=np.float16)), 60, 1 << 20)
    return rows.DeviceRows(reader, STRATEGY, 5)


@pytest.mark.parametrize("sums", ["segments", "products"])
@pytest.mark.parametrize("weighted", [False, True])
def test_steps_of_mini_batches(device_rows, weighted, sums, monkeypatch):
    if sums == "products":
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    weights = tf.ones([60], tf.float64) if weighted else None
    state = minibatch_state.MinibatchState.start(np.eye(5, 8, dtype=np.float32), 60)
    replica = minibatch_replica.MinibatchReplica.start(
        state,
        seed=tf.constant(0, tf.int64),
        reassignment_ratio=tf.constant(0.1, tf.float64),
        max_no_improvement=tf.constant(9, tf.int64),
        row_weights=weights,
        place=0,
        num_replicas=1,
    )
    (share,) = device_rows.shares()

    def batches(first, count, size):
        return minibatch._kept_batches(run_alone, replica, share, first, count, size)

    assert missing_ops(batches, SCALAR, SCALAR, SCALAR) == []


def run_alone(function, *arguments):
    return function(*arguments)


@pytest.mark.parametrize("sums", ["segments", "products"])
def test_passes_of_lloyd(device_rows, sums, monkeypatch):
    if sums == "products":
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    labels = np.full(60, -1, np.int32)
    replica = lloyd._Replica.start(labels, (5, 8), np.ones(60), True)
    (share,) = device_rows.shares()
    assert (
        missing_ops(
            lambda first, last: lloyd._assign_kept(run_alone, replica, share, first, last),
            SCALAR,
            SCALAR,
        )
        == []
    )


def test_start_and_preprocessing():
    matrix, vector = tf.TensorSpec([20, 8], tf.float32), tf.TensorSpec([20], tf.float32)
    numbers = tf.TensorSpec([3], tf.int64)
    closest_after = kmeans_plus_plus.closest_after.python_function
    assert missing_ops(closest_after, matrix, vector, vector, numbers, vector) == []
    whitened = Preprocessing(np.zeros(8, "f4"), np.eye(4, 8, dtype="f4"), np.ones(4), True)
    assert missing_ops(whitened.graph, tf.TensorSpec([20, 8], tf.float16)) == []

"""The tf.distribute strategies the commands know, and what the processes of a job tell each other.

Where a job runs as several processes (`--strategy=multi_worker`, TF_CONFIG), every one runs the
same command on storage they share: worker 0, the chief, writes; each reads its part. All other
modules ask here, and do not look into strategies themselves.
"""

import dataclasses
import functools
import os
import signal
import threading

import numpy as np
import tensorflow as tf

from ccssl_tf.runs.errors import Interrupted
from ccssl_tf.runs.settings import Settings, setting
from ccssl_tf.runs.tf_config import (
    DEADLINE_SECONDS,
    is_one_machine,
    read_tf_config,
    wait_for_peers,
)

STRATEGIES = ("auto", "one", "mirrored", "multi_worker")
_CONNECT_SECONDS = 600.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrategySettings(Settings):
    """Which devices compute."""

    strategy: str = setting(
        "auto",
        "one: one device. mirrored: all GPUs (logical CPUs) of this machine. multi_worker: the "
        "processes TF_CONFIG names, which wait up to "
        f"{DEADLINE_SECONDS / 60:g} minutes for each other. auto: multi_worker if TF_CONFIG names "
        "several processes, else mirrored if there are several GPUs, else one.",
        choices=STRATEGIES,
    )


def make_strategy(name: str):
    """Returns the tf.distribute strategy of that name (see --strategy); `multi_worker` waits for
    the other workers.

    With several workers it must come before anything else asks TensorFlow to compute.

    Raises:
      InputError: TF_CONFIG is not what it should be.
      Interrupted: another worker has not come in half an hour.
    """
    if name == "multi_worker" or (name == "auto" and not is_one_machine()):
        return _multi_worker_strategy()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy(
            [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
        )
    return tf.distribute.get_strategy()


def _multi_worker_strategy():
    addresses, index = read_tf_config()
    wait_for_peers(addresses, index)
    # TensorFlow replaces the handler while it connects, and looks at no signal before it has.
    handler = signal.getsignal(signal.SIGTERM)
    watchdog = threading.Timer(_CONNECT_SECONDS, _give_up, [addresses])
    watchdog.daemon = True
    watchdog.start()
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    finally:
        watchdog.cancel()
        signal.signal(signal.SIGTERM, handler)
    print(
        f"worker {index} of {len(addresses)}, {strategy.num_replicas_in_sync} replicas in all",
        flush=True,
    )
    return strategy


def _give_up(addresses):
    print(
        f"error: no connection to all of {', '.join(addresses)} in {_CONNECT_SECONDS:g} s; start "
        "all workers again",
        flush=True,
    )
    os._exit(Interrupted.exit_code)


def worker(strategy=None) -> tuple[int, int]:
    """Returns which worker this process is, and how many there are: (0, 1) unless the strategy (the
    current one) is multi-worker.
    """
    strategy = strategy or tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec().as_dict()
    chiefs = len(cluster.get("chief", []))
    return (resolver.task_id or 0) + (chiefs if resolver.task_type == "worker" else 0), max(
        chiefs + len(cluster.get("worker", [])), 1
    )


def is_chief(strategy=None) -> bool:
    """Whether this process is the one that writes what all have computed."""
    return worker(strategy)[0] == 0


def part_of_worker(count: int, strategy=None) -> slice:
    """Returns this worker's contiguous part of `count` things."""
    index, workers = worker(strategy)
    return slice(count * index // workers, count * (index + 1) // workers)


def replica_devices(strategy) -> list:
    """Returns the device of each replica this process runs, for `tf.device`; None where TensorFlow
    chooses.
    """
    return [None] if strategy.num_replicas_in_sync == 1 else list(strategy.extended.worker_devices)


def local_replicas(strategy) -> int:
    """Returns how many replicas this process runs."""
    return len(replica_devices(strategy))


def local_replica_numbers(strategy) -> range:
    """Returns the numbers of the replicas this process runs, among those of all processes."""
    local, index = local_replicas(strategy), worker(strategy)[0]
    return range(local * index, local * (index + 1))


def to_replicas(values: list, strategy):
    """Returns one value that `strategy.run` takes apart again: the i-th of `values` goes to the
    i-th replica of this process.
    """
    if strategy.num_replicas_in_sync == 1:
        return values[0]
    remaining = iter(values)
    return strategy.experimental_distribute_values_from_function(lambda _: next(remaining))


def split_batches(dataset: tf.data.Dataset, strategy):
    """Returns batches (dicts of [B, ...], B static) cut into equal parts, in order, for the
    replicas of the strategy.
    """
    if strategy.num_replicas_in_sync == 1:
        return dataset
    size = next(iter(dataset.element_spec.values())).shape[0]
    rows = part_of_worker(size, strategy)
    parts = dataset.map(lambda batch: {name: value[rows] for name, value in batch.items()})
    parts = parts.rebatch(size // strategy.num_replicas_in_sync, drop_remainder=True).prefetch(
        2 * local_replicas(strategy)
    )
    return strategy.distribute_datasets_from_function(lambda _: parts)


def deal_batches(dataset: tf.data.Dataset, strategy):
    """Returns batches, whole ones, dealt out to the replicas of the strategy in turn.

    So that each gets as many, first batches come again at the end, with `weight` [B] 0.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return dataset
    count = int(dataset.cardinality())
    dealt = dataset.repeat().take(-(-count // replicas) * replicas).enumerate()
    dealt = dealt.map(
        lambda place, batch: dict(
            batch, weight=batch["weight"] * tf.cast(place < count, tf.float32)
        )
    )
    index, workers = worker(strategy)
    shares = dealt.shard(workers, index).prefetch(local_replicas(strategy))
    return strategy.distribute_datasets_from_function(lambda _: shares)


def sum_over_workers(values: np.ndarray, strategy) -> np.ndarray:
    """Returns the sum of every worker's `values` (same shape and dtype): the same bits on all."""
    if worker(strategy)[1] == 1:
        return values
    zeros = [tf.zeros(values.shape, values.dtype)] * (local_replicas(strategy) - 1)
    shares = to_replicas([tf.constant(values), *zeros], strategy)
    return strategy.experimental_local_results(_summing(strategy)(shares))[0].numpy()


@functools.cache
def _summing(strategy):
    def on_replica(share):
        # What comes in from outside a tf.function has no device yet, and all_reduce asks for one.
        return tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, tf.identity(share)
        )

    return tf.function(
        lambda shares: strategy.run(on_replica, args=(shares,)),
        reduce_retracing=True,
        autograph=False,
    )


def concatenate_over_workers(values: np.ndarray, strategy) -> np.ndarray:
    """Returns every worker's `values`, joined along the first dimension in the order of the
    workers.
    """
    index, workers = worker(strategy)
    if workers == 1:
        return values
    lengths = np.zeros(workers, np.int64)
    lengths[index] = len(values)
    ends = np.cumsum(sum_over_workers(lengths, strategy))
    joined = np.zeros([ends[-1], *values.shape[1:]], values.dtype)
    joined[ends[index] - len(values) : ends[index]] = values
    return sum_over_workers(joined, strategy)


def any_worker(flag: bool, strategy) -> bool:
    """Whether `flag` is set on any worker; all workers must ask."""
    return (
        flag
        if worker(strategy)[1] == 1
        else bool(sum_over_workers(np.array([flag], np.int32), strategy)[0])
    )


def wait_for_workers(strategy):
    """Returns when every worker has come here."""
    any_worker(False, strategy)

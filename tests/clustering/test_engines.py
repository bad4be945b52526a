"""K-means on two logical devices and in two processes finds what one device finds; both in
processes of their own.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.clustering import KMeans, engines
from ccssl_tf.clustering.host import plain
from ccssl_tf.clustering.rows import chunk_reader, sources
from ccssl_tf.clustering.rows.chunk_reader import ChunkReader

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = (
    np.random.default_rng(0).normal(size=[603, 24]) + np.repeat(np.arange(9), 67)[:, None]
).astype(np.float32)


def test_one_worker_reads_all_rows_and_assigns_them_itself():
    reader = ChunkReader(sources.open_source(ROWS, 1 << 30), 100, 1 << 30)
    strategy = tf.distribute.get_strategy()
    assert chunk_reader.reader_of_worker(reader, strategy) is reader
    labels, sums = np.full(len(ROWS), -1, np.int32), np.zeros([12, ROWS.shape[1]])
    made = engines.make_assignment(plain.PlainAssignment, reader, labels, sums, strategy)
    assert type(made) is plain.PlainAssignment
    for ours, wanted in zip(
        engines.nearest(reader, ROWS[:12], strategy),
        plain.nearest(reader, ROWS[:12]),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, wanted)


FIT = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
import tensorflow as tf
import numpy as np
name, out = sys.argv[2:4]
if name == "mirrored":
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from absl import flags
from ccssl_tf import distribution
from ccssl_tf.clustering import KMeans
flags.FLAGS(["test"])
strategy = distribution.make_strategy(name)
assert strategy.num_replicas_in_sync == 2
rows = np.load(f"{out}.npy")
for algorithm in ("lloyd", "lloyd_plain", "minibatch"):
    for memory_gb in (1.0, 0.0):
        # An impossible centroid: its cluster is empty and must be re-seeded alike everywhere.
        start = np.concatenate([rows[:11], np.full([1, rows.shape[1]], 1e3, np.float32)])
        for initialization in ("k-means++", start):
            with strategy.scope():
                kmeans = KMeans(12, algorithm=algorithm, memory_gb=memory_gb, initialization=initialization, minibatch_size=50).fit(rows)
                labels, distances = kmeans.assign(rows)
            given = "given" if initialization is start else "drawn"
            np.savez(
                f"{out}.{algorithm}.{memory_gb}.{given}.{distribution.worker(strategy)[0]}.npz",
                centroids=kmeans.centroids, inertia=kmeans.inertia, iterations=kmeans.iterations, labels=labels, distances=distances,
            )
with strategy.scope():
    kmeans = KMeans(12, pca_dim=5, whiten=True, l2_normalize=True, initialization="random", max_iterations=3, memory_gb=0.0).fit(rows)
    np.savez(f"{out}.preprocessed.{distribution.worker(strategy)[0]}.npz", centroids=kmeans.centroids, axes=kmeans.preprocessing.projection)
distribution.wait_for_workers(strategy)
"""  # noqa: E501


def free_ports(count):
    with_ports = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in with_ports]
    for server in with_ports:
        server.close()
    return ports


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mirrored", "multi_worker"])
def test_two_replicas_find_the_centroids_of_one(tmp_path, name):
    """Sums are float64 and added in another order: centroids may differ in the last bit
    of float32.
    """
    out = tmp_path / "rows"
    np.save(f"{out}.npy", ROWS)
    command = [sys.executable, "-c", FIT, str(ROOT), name, str(out)]
    environments = [dict(os.environ)]
    if name == "multi_worker":
        cluster = dict(worker=[f"localhost:{port}" for port in free_ports(2)])
        tasks = [dict(type="worker", index=index) for index in range(2)]
        environments = [
            dict(os.environ, TF_CONFIG=json.dumps(dict(cluster=cluster, task=task)))
            for task in tasks
        ]
    processes = [
        subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        for env in environments
    ]
    try:
        for process in processes:
            _, error = process.communicate(timeout=300)
            assert process.returncode == 0, error
    finally:
        for process in processes:
            process.kill()
    start = np.concatenate([ROWS[:11], np.full([1, 24], 1e3, np.float32)])
    for memory_gb in (0.0, 1.0):
        for given, initialization in (("drawn", "k-means++"), ("given", start)):
            # The sample of k-means++ depends on the memory.
            for algorithm, ones in (("lloyd", "lloyd_plain"), ("minibatch", "minibatch")):
                one = KMeans(
                    12,
                    algorithm=ones,
                    memory_gb=memory_gb,
                    initialization=initialization,
                    minibatch_size=50,
                ).fit(ROWS)
                labels, distances = one.assign(ROWS)
                paths = sorted(tmp_path.glob(f"rows.{algorithm}*.{memory_gb}.{given}.*.npz"))
                assert len(paths) == (1 + (algorithm == "lloyd")) * len(processes)
                for path in paths:
                    with np.load(path) as two:
                        np.testing.assert_allclose(
                            two["centroids"], one.centroids, rtol=1e-6, atol=1e-6, err_msg=path.name
                        )
                        np.testing.assert_array_equal(two["labels"], labels)
                        np.testing.assert_allclose(two["distances"], distances, rtol=1e-5)
                        assert int(two["iterations"]) == one.iterations
                        assert float(two["inertia"]) == pytest.approx(one.inertia, rel=1e-6)
    one = KMeans(
        12,
        pca_dim=5,
        whiten=True,
        l2_normalize=True,
        initialization="random",
        max_iterations=3,
        memory_gb=0.0,
    ).fit(ROWS)
    for number in range(len(processes)):
        with np.load(tmp_path / f"rows.preprocessed.{number}.npz") as two:
            np.testing.assert_allclose(
                two["axes"], one.preprocessing.projection, rtol=1e-5, atol=1e-6
            )
            np.testing.assert_allclose(two["centroids"], one.centroids, rtol=1e-4, atol=1e-5)

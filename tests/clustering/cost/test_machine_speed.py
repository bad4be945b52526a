import dataclasses
import time

import numpy as np
import pytest
from clustering.cost.test_estimate import PROBLEM
from clustering.rows.test_sources import write_features

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.cost import estimate
from ccssl_tf.clustering.cost.machine_speed import measure
from ccssl_tf.clustering.kmeans import ALGORITHMS
from ccssl_tf.clustering.rows import sources


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_time_of_a_pass_is_about_right(tmp_path, algorithm):
    rows = np.random.default_rng(0).normal(size=[6000, 512]).astype(np.float32)
    problem = dataclasses.replace(
        PROBLEM,
        num_examples=6000,
        dim=512,
        num_clusters=300,
        in_memory=True,
        algorithm=algorithm,
        row_bytes=2048,
        minibatch_size=1024,
    )
    machine = measure(problem)
    passes = []
    KMeans(300, algorithm=algorithm, initialization=rows[:300], max_iterations=1).fit(
        rows, on_pass=passes.append
    )
    first = estimate.seconds(problem, machine, estimate.steps(problem)[1])[0]
    # Other work on the machine may change its speed at any moment; an error of a unit is a factor
    # of a thousand.
    assert passes[0]["seconds"] / 100 < first < passes[0]["seconds"] * 100


def test_measuring_takes_seconds(tmp_path):
    source = sources.DirectorySource(
        write_features(tmp_path / "features", np.ones([3000, 64], np.float32), [1000, 2000])
    )
    measure(PROBLEM, source)
    started = time.monotonic()
    machine = measure(PROBLEM, source)
    assert time.monotonic() - started < 20  # Other work may slow it down.
    assert machine.read_rate > 0 and machine.product_rate > 0 and measure(PROBLEM).read_rate is None

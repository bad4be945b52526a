import dataclasses

import numpy as np
import pytest
from clustering.rows.test_sources import write_features

from ccssl_tf.clustering import KMeans
from ccssl_tf.clustering.cost import estimate
from ccssl_tf.clustering.cost.machine_speed import Machine
from ccssl_tf.clustering.cost.problem import Problem
from ccssl_tf.clustering.kmeans import ALGORITHMS, INITIALIZATIONS
from ccssl_tf.clustering.rows import sources

PROBLEM = Problem(
    num_examples=3000,
    dim=64,
    num_clusters=40,
    row_bytes=256,
    in_memory=False,
    memory_bytes=0,
    algorithm="lloyd",
    initialization="k-means++",
    max_iterations=6,
    restarts=1,
    minibatch_size=100,
    assigned_rows=3000,
)


def pair(step, name):
    """Of a step in the shortest and the longest fit."""
    return getattr(step.shortest, name), getattr(step.longest, name)


def total(problem, name):
    return np.sum([pair(step, name) for step in estimate.steps(problem)], axis=0)


def test_the_papers_problem():
    """Section 4.2: 1.28 M rows of conv4 features, K = 2000."""
    paper = dataclasses.replace(
        PROBLEM,
        num_examples=1_281_167,
        dim=9600,
        num_clusters=2000,
        row_bytes=2 * 9600,
        memory_bytes=2**32,
        assigned_rows=1_281_167,
    )
    first = next(step for step in estimate.steps(paper) if step.name == "first pass")
    np.testing.assert_allclose(pair(first, "flops"), 2 * 1_281_167 * 9600 * 2000, rtol=1e-2)
    np.testing.assert_allclose(pair(first, "bytes_read"), 1_281_167 * 9600 * 2)
    assert not paper.keeps
    for gib, kept_bytes in ((32, 2 * 1_281_167 * 9600), (64, 4 * 1_281_167 * 9600)):
        kept = dataclasses.replace(paper, memory_bytes=gib * 2**30)
        assert kept.keeps and kept.kept_bytes == kept_bytes


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("keeps", [True, False])
def test_a_fit_stays_within_what_was_said(tmp_path, algorithm, keeps):
    rows = np.random.default_rng(0).normal(size=[3000, 64]).astype(np.float32)
    source = sources.DirectorySource(write_features(tmp_path / "features", rows, [1000, 2000]))
    problem = dataclasses.replace(
        PROBLEM,
        algorithm=algorithm,
        initialization="given",
        memory_bytes=2**30 * keeps,
        row_bytes=source.num_bytes / 3000,
    )
    passes = []
    kmeans = KMeans(
        40,
        algorithm=algorithm,
        initialization=rows[:40],
        max_iterations=6,
        memory_gb=float(keeps),
        minibatch_size=100,
    )
    kmeans.fit(source, on_pass=passes.append)
    kmeans.assign(source)
    computed = sum(values["computed"] for values in passes) + 1
    low, high = total(problem, "flops") / (2 * 3000 * 64 * 40)
    assert low <= computed + 0.1 and computed <= high
    low, high = total(problem, "passes")
    assert low <= len(passes) + 1 + keeps <= high
    low, high = total(problem, "bytes_read") / 1e9
    # Kept rows are read once more, for the labels.
    read = (
        source.num_bytes / 1e9 * 2
        if keeps
        else sum(values["gb_read"] for values in passes) + source.num_bytes / 1e9
    )
    assert low <= read * (1 + 1e-9) and read <= high * (1 + 1e-9)


@pytest.mark.parametrize("initialization", [*INITIALIZATIONS, "given"])
def test_starts_restarts_and_workers(initialization):
    problem = dataclasses.replace(PROBLEM, initialization=initialization)
    start = estimate.steps(problem)[0]
    assert (start.shortest.passes > 0) == (initialization != "given")
    assert (start.shortest.flops > 0) == initialization.startswith("k-means")
    three = total(dataclasses.replace(problem, restarts=3), "flops") - total(problem, "flops")
    labels = np.array(pair(estimate.steps(problem)[-1], "flops"))
    np.testing.assert_allclose(three, 2 * (total(problem, "flops") - labels))
    machine = Machine(1e-3, 1e-4, 1e-5, 1e9, 1e9)
    for step in estimate.steps(problem):
        alone, shared = (
            estimate.seconds(dataclasses.replace(problem, workers=workers), machine, step)
            for workers in (1, 4)
        )
        np.testing.assert_allclose(alone, np.multiply(shared, 4))


def test_the_slower_of_reading_and_computing_counts():
    step = estimate.Step("", estimate.Work(1, 1e6, 1e9, 1000), estimate.Work(2, 2e6, 2e9, 2000))
    assert estimate.seconds(PROBLEM, Machine(1e-3, 1e-4, 1e-5, 1e10, 1e9), step) == (1.0, 2.0)
    assert estimate.seconds(PROBLEM, Machine(1e-3, 1e-4, 1e-5, 1e8, 1e9), step) == (10.0, 20.0)


def test_the_lines_name_it_all():
    text = estimate.describe(PROBLEM, Machine(1e-3, 1e-4, 1e-5, 1e9, 1e9))
    for words in (
        "3000 rows x 64",
        "40 clusters",
        "lloyd",
        "TFLOP",
        "GB read",
        "GFLOP/s",
        "GB/s",
        "labels",
        "of memory",
        "read again",
    ):
        assert words in text


@pytest.mark.parametrize("keeps", [True, False])
def test_pca_costs_a_pass_and_its_products(keeps):
    plain = dataclasses.replace(PROBLEM, dim=8, memory_bytes=2**30 * keeps)
    projected = dataclasses.replace(plain, stored_dim=64, projects=True)
    first = estimate.steps(projected)[0]
    assert first.name == "PCA" and pair(first, "passes") == (1, 1)
    np.testing.assert_allclose(pair(first, "flops"), 3000 * 64**2 + 9 * 64**3)
    more = total(projected, "flops") - total(plain, "flops") - first.shortest.flops
    # Kept rows are projected once, and once more for the labels; others on each pass.
    visits = np.array([2, 2]) if keeps else total(plain, "passes")
    np.testing.assert_allclose(more, visits * 3000 * 2 * 64 * 8)
    assert dataclasses.replace(projected, memory_bytes=3000 * 8 * 4).keeps
    assert estimate.memory(projected) > 2 * 8 * 64**2
    assert "3000 rows x 64 to 8 by PCA" in estimate.describe(
        projected, Machine(1e-3, 1e-4, 1e-5, 1e9, 1e9)
    )

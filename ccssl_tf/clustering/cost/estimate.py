"""What clustering will cost: passes, bytes, floating-point operations, memory, and the time.

The time is predicted after measuring this machine for two seconds. How many passes a fit needs, and
how many distances `lloyd` skips, is not known before. So a range is given: from the shortest fit,
which settles in its second pass (and, with `lloyd`, skips all it can), to the longest, which makes
every pass it may and skips nothing.
"""

import dataclasses

import numpy as np

from ccssl_tf.clustering.cost.machine_speed import Machine
from ccssl_tf.clustering.cost.problem import Problem
from ccssl_tf.clustering.host.block_threads import WORK_BYTES_A_CORE
from ccssl_tf.clustering.start.kmeans_parallel import ROUNDS, num_candidates
from ccssl_tf.clustering.start.kmeans_plus_plus import num_trials, sample_size
from ccssl_tf.runs import machine


@dataclasses.dataclass(frozen=True)
class Work:
    """An amount of work.

    Attributes:
      passes: number of passes over the rows.
      flops: number of floating-point operations.
      bytes_read: bytes that are read.
      full_rows: number of rows for which all K distances are computed.
      single_rows: number of rows for which only the distance to the centroid of their label is.
      draws: number of rows times number of centres that k-means++ draws from them.
      other_flops: those of `flops` that belong to none of these; in float64 counted twice.
    """

    passes: float
    flops: float
    bytes_read: float
    full_rows: float = 0
    single_rows: float = 0
    draws: float = 0
    other_flops: float = 0


@dataclasses.dataclass(frozen=True)
class Step:
    """A part of a fit.

    Attributes:
      name: str, what is done.
      shortest: its work in the shortest fit there can be.
      longest: its work in the longest.
    """

    name: str
    shortest: Work
    longest: Work

    @classmethod
    def certain(cls, name: str, work: Work) -> "Step":
        """Returns a step whose work is the same in every fit."""
        return cls(name, work, work)


def steps(problem: Problem) -> list[Step]:
    """Returns the parts of a fit in their order."""
    count, size = problem.num_examples, problem.num_examples * problem.row_bytes
    all_distances, one_distance = 2.0 * problem.dim * problem.num_clusters, 3.0 * problem.dim
    streamed, projection = (0.0, 0.0) if problem.keeps else (size, problem.projection_flops)
    first_read = 0 if problem.in_memory else size
    parts = []
    if problem.projects:
        dim = problem.stored_dim or problem.dim
        # The products take N D^2, as only half of the symmetric matrix is computed; the second
        # summand is for its eigenvectors.
        flops = count * dim * dim + 9.0 * dim**3
        parts.append(Step.certain("PCA", Work(1, flops, first_read, other_flops=2 * flops)))
    if problem.keeps and not (problem.in_memory and not problem.projects):
        flops = count * problem.projection_flops
        parts.append(Step.certain("reading", Work(1, flops, first_read, other_flops=flops)))
    parts.append(Step.certain(f"start ({problem.initialization})", _start(problem, streamed)))

    def passes(number: int, computes_all: bool = True) -> Work:
        number *= problem.restarts
        a_row = one_distance + projection + computes_all * all_distances
        return Work(
            passes=number,
            flops=number * count * a_row,
            bytes_read=number * streamed,
            full_rows=number * count * computes_all,
            single_rows=number * count * (not computes_all),
            other_flops=number * count * projection,
        )

    if problem.algorithm == "minibatch":
        parts.append(Step("mini-batches", passes(1), passes(problem.max_iterations)))
        parts.append(Step.certain("measuring", passes(1)))
    else:
        parts.append(Step.certain("first pass", passes(1)))
        shortest = passes(1, problem.algorithm != "lloyd")
        parts.append(Step("later passes", shortest, passes(problem.max_iterations)))
    rows = problem.assigned_rows
    labels = Work(
        passes=1,
        flops=rows * (all_distances + one_distance + problem.projection_flops),
        bytes_read=0 if problem.in_memory else rows * problem.row_bytes,
        full_rows=rows,
        other_flops=rows * problem.projection_flops,
    )
    return [*parts, Step.certain("labels", labels)]


def _start(problem: Problem, streamed: float) -> Work:
    """Returns the work that makes the first centroids.

    Rows drawn at random lie all over the source, so that reading them counts as a whole pass.

    Args:
      problem: what is clustered.
      streamed: bytes read in a pass.
    """
    count, dim, clusters = problem.num_examples, problem.dim, problem.num_clusters
    passes, rows, draws = 0, 0.0, 0
    if problem.initialization == "k-means++":
        passes, draws = 1, clusters * sample_size(count, dim, clusters, problem.memory_bytes)
    elif problem.initialization == "k-means||":
        drawn = min(ROUNDS * num_candidates(dim, clusters, problem.memory_bytes), count)
        # Each round is a pass, and reads the rows it has drawn.
        passes, rows, draws = 2 * ROUNDS + 2, count * drawn / clusters, clusters * drawn
    elif problem.initialization == "random":
        passes = 1
    projection = 0 if problem.keeps else passes * count * problem.projection_flops
    flops = 2.0 * dim * (rows * clusters + draws * num_trials(clusters)) + projection
    return Work(
        passes=problem.restarts * passes,
        flops=problem.restarts * flops,
        bytes_read=problem.restarts * passes * streamed,
        full_rows=problem.restarts * rows,
        draws=problem.restarts * draws,
        other_flops=problem.restarts * projection,
    )


def memory(problem: Problem) -> float:
    """Returns about how many bytes the fit takes.

    They are of rows that are kept or read ahead, bounds, centroids, and the scores of a chunk.
    """
    is_minibatch = problem.algorithm == "minibatch"
    if problem.in_memory and not problem.projects and not is_minibatch:
        rows = 0.0
    else:
        rows = problem.kept_bytes if problem.keeps else problem.memory_bytes / 2
    covariance = 2 * 8 * (problem.stored_dim or problem.dim) ** 2 if problem.projects else 0
    a_row = {"lloyd": 28, "lloyd_plain": 12, "minibatch": 28}[problem.algorithm]
    # Of `lloyd`: rows in few dimensions, and the bounds of distances.
    bounds = problem.algorithm == "lloyd" and min(
        problem.memory_bytes * 3 / 8,
        problem.num_examples * (problem.dim + problem.num_clusters) / 4,
    )
    centroids = 4 * problem.num_clusters * problem.dim * 8
    return (
        max(covariance, rows + bounds + a_row * problem.num_examples + centroids)
        + machine.num_cores() * WORK_BYTES_A_CORE
    )


def seconds(problem: Problem, machine: Machine, step: Step) -> tuple[float, float]:
    """Returns the predicted time of a step, in the shortest and in the longest fit."""
    return (
        _work_seconds(problem, machine, step.shortest),
        _work_seconds(problem, machine, step.longest),
    )


def _work_seconds(problem: Problem, machine: Machine, work: Work) -> float:
    """Returns how long work takes; it reads while it computes, so the slower of the two counts."""
    computing = (
        work.full_rows * machine.full_seconds
        + work.single_rows * machine.single_seconds
        + work.draws * machine.draw_seconds
        + work.other_flops / machine.product_rate
    )
    reading = work.bytes_read / machine.read_rate if machine.read_rate else 0
    return max(computing, reading) / problem.workers


def describe(problem: Problem, machine: Machine) -> str:
    """Returns the cost in a few lines."""
    parts = steps(problem)
    passes, flops, read = np.sum(
        [
            [(work.passes, work.flops, work.bytes_read) for work in (part.shortest, part.longest)]
            for part in parts
        ],
        axis=0,
    ).T
    times = np.array([seconds(problem, machine, part) for part in parts])
    if problem.in_memory:
        where = "in memory"
    else:
        where = "kept in memory" if problem.keeps else "read again on each pass (--memory_gb)"
    full_pass = 2e-12 * problem.num_examples * problem.dim * problem.num_clusters
    speed = f"{machine.product_rate / 1e9:.3g} GFLOP/s" + (
        f", {machine.read_rate / 1e9:.3g} GB/s" if machine.read_rate else ""
    )
    size = problem.num_examples * problem.row_bytes
    shape = (
        f"{problem.stored_dim} to {problem.dim} by PCA" if problem.projects else f"{problem.dim}"
    )
    shown = ", ".join(
        f"{part.name} {_times(pair)}" for part, pair in zip(parts, times, strict=True)
    )
    return (
        f"k-means  {problem.num_examples} rows x {shape}, {size / 1e9:.3g} GB {where}, "
        f"{problem.num_clusters} clusters, {problem.algorithm}\n"
        f"k-means  cost  {_range(passes)} passes of up to {full_pass:.3g} TFLOP  "
        f"{_range(flops / 1e12)} TFLOP in all  "
        f"{_range(read / 1e9)} GB read  about {memory(problem) / 1e9:.3g} GB of memory\n"
        f"k-means  time  {_times(times.sum(axis=0))} at the {speed} measured here: {shown}"
    )


def _times(pair: np.ndarray) -> str:
    low, high = map(_duration, pair)
    return low if low == high else f"{low} to {high}"


def _range(pair: np.ndarray) -> str:
    low, high = (f"{value:.3g}" for value in pair)
    return low if low == high else f"{low} to {high}"


def _duration(value: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if value >= 1.5 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.2g} s"

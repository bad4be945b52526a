"""What clustering will cost: passes, bytes, floating-point work, memory and, after measuring this
machine for two seconds, the time.

Most of it is known before; not how many passes a fit needs and how many distances `lloyd` skips. So
a range is given: from a fit that settles in its second pass (and, `lloyd`, skips all it can) to one
that makes every pass it may and skips nothing.
"""

import dataclasses

import numpy as np

from ccssl_tf.clustering.assignment import WORK_BYTES_A_CORE
from ccssl_tf.clustering.initialization import num_trials, sample_size
from ccssl_tf.clustering.kmeans_parallel import ROUNDS, num_candidates
from ccssl_tf.clustering.machine_speed import Machine
from ccssl_tf.runs import machine


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is to be clustered, and how.

    Attributes:
      num_examples, dim, num_clusters: N, D, K; D after a projection.
      row_bytes: of a row as it is stored, with what surrounds it.
      in_memory: whether the rows are there already.
      memory_bytes: rows up to this size are read once.
      algorithm, initialization: as of `KMeans`; the latter "given" if centroids are.
      max_iterations, restarts, minibatch_size: as of `KMeans`.
      assigned_rows: rows that get labels in the end.
      workers: processes that share the rows.
      stored_dim: D of the rows as they are stored; None: the same.
      projects: whether PCA or whitening comes first.
      normalizes: whether L2 normalisation does.
    """

    num_examples: int
    dim: int
    num_clusters: int
    row_bytes: float
    in_memory: bool
    memory_bytes: int
    algorithm: str
    initialization: str
    max_iterations: int
    restarts: int
    minibatch_size: int
    assigned_rows: int
    workers: int = 1
    stored_dim: int | None = None
    projects: bool = False
    normalizes: bool = False

    @property
    def kept_bytes(self) -> float:
        """Of all rows, as they would be kept: float16 as float32 if that fits."""
        as_float32, as_stored = 4 * self.num_examples * self.dim, self.num_examples * self.row_bytes
        return (
            as_float32
            if self.projects or self.normalizes or as_stored < as_float32 <= self.memory_bytes
            else as_stored
        )

    @property
    def keeps(self) -> bool:
        """Whether the rows are read only once for the whole fit."""
        return self.in_memory or self.kept_bytes <= self.memory_bytes

    @property
    def projecting(self) -> float:
        """Floating-point operations that project a row."""
        return 2.0 * (self.stored_dim or self.dim) * self.dim if self.projects else 0.0


@dataclasses.dataclass(frozen=True)
class Step:
    """A part of the work; pairs are (least, most).

    Attributes:
      name: what it is.
      passes: over the rows, in all.
      flops: floating-point operations, in all.
      bytes_read: in all.
      full_rows: rows for which all K distances are computed, in all.
      own_rows: rows for which only the distance to their own centroid is, in all.
      draws: rows times the centres that k-means++ draws from them, in all.
      other_flops: of products that are none of these; in float64 counted twice.
    """

    name: str
    passes: tuple[float, float]
    flops: tuple[float, float]
    bytes_read: tuple[float, float]
    full_rows: tuple[float, float]
    own_rows: tuple[float, float] = (0, 0)
    draws: tuple[float, float] = (0, 0)
    other_flops: tuple[float, float] = (0, 0)


def steps(problem: Problem) -> list[Step]:
    """Returns the parts of the work in their order."""
    count, size = problem.num_examples, problem.num_examples * problem.row_bytes
    all_distances, own_distance = 2.0 * problem.dim * problem.num_clusters, 3.0 * problem.dim
    streamed, projecting = (0, 0) if problem.keeps else (size, problem.projecting)
    found = []
    if problem.projects:
        dim = problem.stored_dim or problem.dim
        # Half of the symmetric products, and the eigenvectors.
        flops, read = count * dim * dim + 9.0 * dim**3, 0 if problem.in_memory else size
        found.append(
            Step(
                "PCA",
                (1, 1),
                (flops, flops),
                (read, read),
                (0, 0),
                other_flops=(2 * flops, 2 * flops),
            )
        )
    if problem.keeps and not (problem.in_memory and not problem.projects):
        flops, read = count * problem.projecting, 0 if problem.in_memory else size
        found.append(
            Step(
                "reading", (1, 1), (flops, flops), (read, read), (0, 0), other_flops=(flops, flops)
            )
        )
    found.append(_start(problem, streamed))

    def passes(name, least, most, least_computes_all=True):
        pairs = [
            (number * problem.restarts, full)
            for number, full in ((least, least_computes_all), (most, True))
        ]
        found.append(
            Step(
                name,
                passes=tuple(number for number, _ in pairs),
                flops=tuple(
                    number * count * (own_distance + projecting + full * all_distances)
                    for number, full in pairs
                ),
                bytes_read=tuple(number * streamed for number, _ in pairs),
                full_rows=tuple(number * count * full for number, full in pairs),
                own_rows=tuple(number * count * (not full) for number, full in pairs),
                other_flops=tuple(number * count * projecting for number, _ in pairs),
            )
        )

    if problem.algorithm == "minibatch":
        passes("mini-batches", 1, problem.max_iterations)
        passes("measuring", 1, 1)
    else:
        passes("first pass", 1, 1)
        passes("later passes", 1, problem.max_iterations, problem.algorithm != "lloyd")
    rows = problem.assigned_rows
    other, read = rows * problem.projecting, 0 if problem.in_memory else rows * problem.row_bytes
    flops = rows * (all_distances + own_distance) + other
    found.append(
        Step(
            "labels", (1, 1), (flops, flops), (read, read), (rows, rows), other_flops=(other, other)
        )
    )
    return found


def _start(problem, streamed):
    """The first centroids. Rows drawn at random lie all over: what they are read from counts as a
    whole pass.
    """
    count, dim, clusters = problem.num_examples, problem.dim, problem.num_clusters
    passes = rows = draws = 0
    if problem.initialization == "k-means++":
        passes, draws = 1, clusters * sample_size(count, dim, clusters, problem.memory_bytes)
    elif problem.initialization == "k-means||":
        drawn = min(ROUNDS * num_candidates(dim, clusters, problem.memory_bytes), count)
        # Each round also reads the rows it has drawn.
        passes, rows, draws = 2 * ROUNDS + 2, count * drawn / clusters, clusters * drawn
    elif problem.initialization == "random":
        passes = 1
    projecting = 0 if problem.keeps else passes * count * problem.projecting
    flops = 2.0 * dim * (rows * clusters + draws * num_trials(clusters)) + projecting
    values = [
        problem.restarts * value
        for value in (passes, flops, passes * streamed, rows, 0, draws, projecting)
    ]
    return Step(f"start ({problem.initialization})", *((value, value) for value in values))


def memory(problem: Problem) -> float:
    """Returns about how many bytes the fit takes: rows that are kept or read ahead, bounds,
    centroids, and a chunk's scores.
    """
    rows = (
        0
        if problem.in_memory and not problem.projects
        else problem.kept_bytes
        if problem.keeps
        else problem.memory_bytes / 2
    )
    covariance = 2 * 8 * (problem.stored_dim or problem.dim) ** 2 if problem.projects else 0
    a_row = {"lloyd": 28, "lloyd_plain": 12, "minibatch": 12}[problem.algorithm]
    # Rows in few dimensions, and bounds.
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
    """Returns the predicted time of a step, least and most. Reading goes on while computing: the
    slower of the two counts.
    """
    found = []
    for read, full, own, draws, other in zip(
        step.bytes_read, step.full_rows, step.own_rows, step.draws, step.other_flops, strict=True
    ):
        computing = (
            full * machine.full_seconds
            + own * machine.own_seconds
            + draws * machine.draw_seconds
            + other / machine.product_rate
        )
        found.append(
            max(computing, read / machine.read_rate if machine.read_rate else 0) / problem.workers
        )
    return tuple(found)


def describe(problem: Problem, machine: Machine) -> str:
    """Returns the cost in a few lines."""
    parts = steps(problem)
    passes, flops, read = (
        np.sum([getattr(part, name) for part in parts], axis=0)
        for name in ("passes", "flops", "bytes_read")
    )
    times = np.array([seconds(problem, machine, part) for part in parts])
    where = (
        "in memory"
        if problem.in_memory
        else "kept in memory"
        if problem.keeps
        else "read again on each pass (--memory_gb)"
    )
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


def _times(pair):
    low, high = map(_duration, pair)
    return low if low == high else f"{low} to {high}"


def _range(pair):
    low, high = (f"{value:.3g}" for value in pair)
    return low if low == high else f"{low} to {high}"


def _duration(value):
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if value >= 1.5 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.2g} s"

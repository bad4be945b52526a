"""What is to be clustered, and how, as far as it decides about the cost."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Problem:
    """Numbers of a clustering.

    Attributes:
      num_examples, dim, num_clusters: N, D, K; D after a projection.
      row_bytes: bytes of a row as it is stored, with what surrounds it.
      in_memory: whether the rows are in memory already.
      memory_bytes: rows of up to so many bytes are read once.
      algorithm, initialization: as of `KMeans`; the latter is "given" if centroids are.
      max_iterations, restarts, minibatch_size: as of `KMeans`.
      assigned_rows: number of rows that get labels in the end.
      workers: number of processes that share the rows.
      stored_dim: D of the rows as they are stored; None: the same.
      projects: whether PCA or whitening comes first.
      normalizes: whether L2 normalisation comes first.
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
        """Bytes of all rows, as they would be kept: float16 as float32 if that fits."""
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
    def projection_flops(self) -> float:
        """Floating-point operations that project a row."""
        return 2.0 * (self.stored_dim or self.dim) * self.dim if self.projects else 0.0

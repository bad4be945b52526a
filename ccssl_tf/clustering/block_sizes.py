"""How many rows a thread works on together when all distances of a pass are computed.

The numbers depend on N, D and K alone, not on the machine: they decide how products are rounded.
"""

import numpy as np

# Bytes that a block's rows may take, and its scores as well: enough for a fast matrix product.
_BLOCK_BYTES = 40 << 20
_MAX_BLOCK_ROWS = 2048
# The blocks of a pass are a multiple of this number, whatever cores there are: as many for each
# of 2, 4 or 8 threads.
_THREADS = 8
# A matrix product computes tiles of so many rows; a tile that is not full takes as long as a full
# one.
_TILE_ROWS = 16
# Bytes that a pass takes for each core beside the rows that are kept: of the chunks that are read,
# wait and are worked on, a block each, and the block's copy and scores.
WORK_BYTES_A_CORE = 8 * _BLOCK_BYTES


def block_rows(num_examples: int, dim: int, num_clusters: int) -> int:
    """Returns how many of N rows are a block: blocks of about equal size, as few as possible."""
    max_rows = int(np.clip(_BLOCK_BYTES // (4 * max(dim, num_clusters)), 1, _MAX_BLOCK_ROWS))
    rounds = -(-num_examples // (_THREADS * max_rows))
    rows = -(-num_examples // (_THREADS * rounds))
    return rows if rows < _TILE_ROWS else -(-rows // _TILE_ROWS) * _TILE_ROWS

"""Pools a map to a fixed grid, as the paper pools conv4 to 5x5 before clustering (section 4.2)."""

from keras import ops


def grid_pool(x, grid: int, mode: str = "max"):
    """Pools maps of any size to `grid` x `grid`.

    Window and stride are those of experiments/PROTOCOLS.md, "Extraction": stride floor(H / grid),
    window H - (grid - 1) * stride, so 13 -> 5 is 5/2 and 28 -> 4 is 7/7. A map smaller than the
    grid is returned as it is.

    Args:
      x: [B, H, W, C] with H and W known.
      grid: cells a side, at least 1.
      mode: "max" or "average".

    Returns:
      [B, min(grid, H), min(grid, W), C].
    """
    cells = [min(grid, size) for size in x.shape[1:3]]
    strides = [size // count for size, count in zip(x.shape[1:3], cells, strict=True)]
    windows = [
        size - (count - 1) * stride
        for size, count, stride in zip(x.shape[1:3], cells, strides, strict=True)
    ]
    pool = {"max": ops.max_pool, "average": ops.average_pool}[mode]
    return pool(x, tuple(windows), tuple(strides), padding="valid", data_format="channels_last")

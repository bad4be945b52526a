"""Draws puzzles beside their solutions (Figure 3 of the paper)."""

import numpy as np


def _grid(tiles, gap):
    """Lays nine tiles [9, t, t, 3] out in a white-lined square."""
    size = tiles.shape[1]
    side = 3 * size + 4 * gap
    canvas = np.full([side, side, 3], 255, np.uint8)
    for slot, tile in enumerate(tiles):
        row, column = (gap + (size + gap) * position for position in divmod(slot, 3))
        canvas[row : row + size, column : column + size] = tile
    return canvas


def _framed(tile, color):
    framed = tile.copy()
    width = max(1, tile.shape[0] // 12)
    framed[:width] = framed[-width:] = framed[:, :width] = framed[:, -width:] = color
    return framed


def draw_puzzles(images, tiles, occluded, shown_order, answered_order, geometry) -> np.ndarray:
    """Draws one column a puzzle: the image, the puzzle as shown, the model's solution.

    Foreign tiles have a red frame in the puzzle; in the solution a tile in its right place has a green one.

    Args:
      images: [B, crop, crop, 3] uint8.
      tiles: [B, 9, t, t, 3] float32, normalised.
      occluded: [B, 9] bool, by tile.
      shown_order: [B, 9], tile in each slot of the puzzle.
      answered_order: [B, 9], what the model takes that order for.
      geometry: TileGeometry.

    Returns:
      [H, W, 3] uint8.
    """
    low, high = tiles.min((2, 3, 4), keepdims=True), tiles.max((2, 3, 4), keepdims=True)
    visible = ((tiles - low) / np.maximum(high - low, 1e-6) * 255).astype(np.uint8)
    gap = max(1, geometry.tile // 8)
    columns = []
    for image, own, foreign, shown, answered in zip(images, visible, occluded, shown_order, answered_order, strict=True):
        marked = np.stack([_framed(tile, (220, 40, 40)) if is_foreign else tile for tile, is_foreign in zip(own, foreign, strict=True)])
        solution = np.zeros_like(own)
        for slot in range(9):
            # The model believes that slot `slot` shows tile answered[slot], and puts it there.
            right = answered[slot] == shown[slot]
            solution[answered[slot]] = _framed(own[shown[slot]], (40, 160, 60)) if right else own[shown[slot]]
        puzzle, solved = _grid(marked[shown], gap), _grid(solution, gap)
        whole = np.full_like(puzzle, 255)
        margin = max(0, (puzzle.shape[0] - image.shape[0]) // 2)
        image = image[: whole.shape[0] - margin, : whole.shape[1] - margin]
        whole[margin : margin + image.shape[0], margin : margin + image.shape[1]] = image
        columns.append(np.concatenate([whole, puzzle, solved], 0))
    return np.concatenate(columns, 1)

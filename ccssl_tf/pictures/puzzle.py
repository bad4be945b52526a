"""Draws puzzles beside their solutions (Figure 3 of the paper)."""

import numpy as np


def lay_out(tiles, columns, gap):
    """Lays tiles of t pixels [t, t, 3] uint8 out row by row.

    White lines of `gap` pixels are around them.
    """
    size, rows = tiles[0].shape[0], -(-len(tiles) // columns)
    canvas = np.full([rows * (size + gap) + gap, columns * (size + gap) + gap, 3], 255, np.uint8)
    for slot, tile in enumerate(tiles):
        row, column = (gap + (size + gap) * position for position in divmod(slot, columns))
        canvas[row : row + size, column : column + size] = tile
    return canvas


def framed(tile, color):
    """Returns the tile [t, t, 3] with a frame of this colour inside its border."""
    tile = tile.copy()
    width = max(1, tile.shape[0] // 12)
    tile[:width] = tile[-width:] = tile[:, :width] = tile[:, -width:] = color
    return tile


def visible(tiles):
    """Stretches normalised tiles [B, T, t, t, 3], each on its own, to uint8."""
    low, high = tiles.min((2, 3, 4), keepdims=True), tiles.max((2, 3, 4), keepdims=True)
    return ((tiles - low) / np.maximum(high - low, 1e-6) * 255).astype(np.uint8)


def draw_puzzles(images, tiles, occluded, shown_order, answered_order, geometry) -> np.ndarray:
    """Draws one column a puzzle: the image, the puzzle as shown, the model's solution.

    Foreign tiles have a red frame in the puzzle; in the solution a tile in its right place has a
    green one.

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
    gap = max(1, geometry.tile // 8)
    columns = []
    for image, pictures, foreign, shown, answered in zip(
        images, visible(tiles), occluded, shown_order, answered_order, strict=True
    ):
        marked = np.stack(
            [
                framed(tile, (220, 40, 40)) if is_foreign else tile
                for tile, is_foreign in zip(pictures, foreign, strict=True)
            ]
        )
        solution = np.zeros_like(pictures)
        for slot in range(9):
            # The model believes that slot `slot` shows tile answered[slot], and puts it there.
            tile, is_right = pictures[shown[slot]], answered[slot] == shown[slot]
            solution[answered[slot]] = framed(tile, (40, 160, 60)) if is_right else tile
        puzzle, solved = lay_out(marked[shown], 3, gap), lay_out(solution, 3, gap)
        whole = np.full_like(puzzle, 255)
        margin = max(0, (puzzle.shape[0] - image.shape[0]) // 2)
        image = image[: whole.shape[0] - margin, : whole.shape[1] - margin]
        whole[margin : margin + image.shape[0], margin : margin + image.shape[1]] = image
        columns.append(np.concatenate([whole, puzzle, solved], 0))
    return np.concatenate(columns, 1)

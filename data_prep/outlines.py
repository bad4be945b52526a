"""Outlines of the kinds of objects that are drawn, as polygons."""

import numpy as np


def polygon(
    corners: int,
    radius: float = 1.0,
    inner: float | None = None,
    centre: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Corners [n, 2] of a regular polygon, or of a star when `inner` gives its inner radius; the
    first one points up.
    """
    count = corners * (2 if inner else 1)
    angle = np.arange(count) * 2 * np.pi / count - np.pi / 2
    radii = np.where(np.arange(count) % 2, inner, radius) if inner else np.full(count, radius)
    return np.stack([np.cos(angle) * radii + centre[0], np.sin(angle) * radii + centre[1]], -1)


def _box(left, top, right, bottom):
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)


def _heart():
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack(
        [
            np.sin(t) ** 3,
            -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16,
        ],
        -1,
    )


def _ellipse(x, y, width, height):
    return polygon(32) * [width, height] + [x, y]


# Class -> parts in drawing order: corners [n, 2] in [-1, 1], y down, and which of the object's
# colours fills them (None: a hole).
OBJECTS = {
    "arrow": [
        (
            np.array(
                [
                    [-1, -0.25],
                    [0.1, -0.25],
                    [0.1, -0.75],
                    [1, 0],
                    [0.1, 0.75],
                    [0.1, 0.25],
                    [-1, 0.25],
                ]
            ),
            0,
        )
    ],
    "bottle": [
        (
            np.array(
                [
                    [-0.15, -1],
                    [0.15, -1],
                    [0.17, -0.5],
                    [0.45, -0.15],
                    [0.45, 1],
                    [-0.45, 1],
                    [-0.45, -0.15],
                    [-0.17, -0.5],
                ]
            ),
            0,
        ),
        (_box(-0.45, 0.1, 0.45, 0.6), 1),
        (_box(-0.19, -1, 0.19, -0.82), 2),
    ],
    "car": [
        (
            np.array(
                [
                    [-1, 0.35],
                    [-1, -0.05],
                    [-0.6, -0.1],
                    [-0.35, -0.5],
                    [0.35, -0.5],
                    [0.65, -0.08],
                    [1, 0],
                    [1, 0.35],
                ]
            ),
            0,
        ),
        (np.array([[-0.45, -0.1], [-0.28, -0.4], [0.0, -0.4], [0.0, -0.1]]), 1),
        (np.array([[0.07, -0.1], [0.07, -0.4], [0.3, -0.4], [0.48, -0.1]]), 1),
        (_ellipse(-0.55, 0.36, 0.26, 0.26), 2),
        (_ellipse(0.55, 0.36, 0.26, 0.26), 2),
        (_ellipse(-0.55, 0.36, 0.11, 0.11), 1),
        (_ellipse(0.55, 0.36, 0.11, 0.11), 1),
    ],
    "cross": [(_box(-0.3, -1, 0.3, 1), 0), (_box(-1, -0.3, 1, 0.3), 0)],
    "fish": [
        (np.array([[0.4, 0], [1, -0.55], [0.85, 0], [1, 0.55]]), 2),
        (np.array([[-0.2, -0.3], [0.1, -0.7], [0.35, -0.2]]), 2),
        (_ellipse(-0.2, 0, 0.8, 0.45), 0),
        (_ellipse(-0.65, -0.1, 0.1, 0.1), 1),
    ],
    "heart": [(_heart(), 0)],
    "house": [
        (_box(0.3, -0.85, 0.55, -0.2), 2),
        (_box(-0.75, -0.15, 0.75, 1), 0),
        (np.array([[-1, -0.1], [0, -1], [1, -0.1]]), 1),
        (_box(-0.15, 0.35, 0.2, 1), 2),
        (_box(-0.6, 0.1, -0.3, 0.45), 2),
        (_box(0.35, 0.1, 0.62, 0.45), 2),
    ],
    "ring": [(_ellipse(0, 0, 1, 1), 0), (_ellipse(0, 0, 0.52, 0.52), None)],
    "star": [(polygon(5, 1.0, 0.42), 0)],
    "tree": [
        (_box(-0.16, 0.3, 0.16, 1), 2),
        (np.array([[-0.85, 0.55], [0, -0.3], [0.85, 0.55]]), 0),
        (np.array([[-0.65, 0.1], [0, -0.65], [0.65, 0.1]]), 0),
        (np.array([[-0.45, -0.35], [0, -1], [0.45, -0.35]]), 0),
    ],
}
CLASS_NAMES = sorted(OBJECTS)

"""Average precision of ranked images and of detected boxes, as VOC and scikit-learn define it.

Numbers of one method under different definitions differ by several points, so every printed one
names its definition: `step` and `trapezoid` are areas under the curve as scikit-learn computes them
today and did before 0.19, `11point` is VOC 2007's (Everingham et al. 2010, section 4.2), `voc2010`
the area under the monotone envelope of later years.
"""

import numpy as np
import numpy.typing as npt

# Number of pairs of a detection and a truth that are compared at a time.
_BLOCK_OF_PAIRS = 1_000_000


def average_precision(
    scores: npt.ArrayLike,
    positives: npt.ArrayLike,
    ignored: npt.ArrayLike | None = None,
    interpolation: str = "step",
) -> float:
    """Returns the average precision of a ranking, in [0, 1]; 0 where nothing is positive.

    Args:
      scores: [N] numbers, higher for what is surer to be positive.
      positives: [N] bool.
      ignored: [N] bool, which do not count, such as VOC's difficult objects; None: none.
      interpolation: "step": sum of precision times growth of recall, equal scores taken together
        (scikit-learn's); "trapezoid": linear between these points and from precision 1 at recall 0
        (scikit-learn's before 0.19, which the VOC classification protocol used); "11point": mean of
        the best precision at recall of at least 0, 0.1, ..., 1, equal scores in the order given
        (VOC 2007's).

    Raises:
      ValueError: lengths differ, a score is NaN, or an unknown interpolation.

    >>> scores, positives = [0.9, 0.8, 0.7], [True, False, True]
    >>> for name in ("step", "trapezoid", "11point"):
    ...     print(name, round(average_precision(scores, positives, interpolation=name), 4))
    step 0.8333
    trapezoid 0.7917
    11point 0.8485
    """
    values, is_positive = np.asarray(scores, np.float64), np.asarray(positives, bool)
    kept = np.ones(values.shape, bool) if ignored is None else ~np.asarray(ignored, bool)
    if values.ndim != 1 or not values.shape == is_positive.shape == kept.shape:
        raise ValueError(
            f"scores, positives and ignored must be [N] alike, not {values.shape}, "
            f"{is_positive.shape} and {kept.shape}"
        )
    _refuse_nan(values)
    values, is_positive = values[kept], is_positive[kept]
    order = np.argsort(-values, kind="stable")
    values, true = values[order], np.cumsum(is_positive[order])
    total = int(is_positive.sum())
    if interpolation == "11point":
        return _eleven_points(true, true / np.arange(1, len(true) + 1), total)
    if interpolation not in ("step", "trapezoid"):
        raise ValueError(
            f"interpolation: must be step, trapezoid or 11point, not {interpolation!r}"
        )
    if not total:
        return 0.0
    # Equal scores are one point of the curve, and it ends where recall is complete.
    last = np.flatnonzero(np.append(np.diff(values) != 0, True))
    last = last[: np.searchsorted(true[last], total) + 1]
    recall, precision = np.append(0.0, true[last] / total), np.append(1.0, true[last] / (last + 1))
    heights = precision[1:] if interpolation == "step" else (precision[1:] + precision[:-1]) / 2
    return float(np.sum(np.diff(recall) * heights))


def detection_average_precision(
    image_ids: npt.ArrayLike,
    scores: npt.ArrayLike,
    boxes: npt.ArrayLike,
    gt_image_ids: npt.ArrayLike,
    gt_boxes: npt.ArrayLike,
    gt_difficult: npt.ArrayLike,
    iou_threshold: float = 0.5,
    interpolation: str = "11point",
) -> float:
    """Returns the average precision of the detections of one class, as VOCevaldet does.

    That is a program of the VOC devkit. The surest detection comes first (equal scores in the order
    given). Each is compared with the truth of its image with which it has the highest overlap. It
    is true if the overlap is at least the threshold and no detection before it was true for that
    truth; it does not count if the truth is difficult. The result is in [0, 1], 0 where there are
    no truths that count.

    Args:
      image_ids: [M] integers or strings, the image of each detection.
      scores: [M] numbers, higher for what is surer.
      boxes: [M, 4] xmin, ymin, xmax, ymax in pixels, the last included (a width is xmax - xmin +
        1).
      gt_image_ids: [G] integers or strings, the image of each truth.
      gt_boxes: [G, 4], as `boxes`.
      gt_difficult: [G] bool.
      iou_threshold: intersection over union that a true detection has at least.
      interpolation: "11point" (VOC 2007) or "voc2010" (area under the monotone envelope).

    Raises:
      ValueError: lengths differ, a score or box is NaN, or an unknown interpolation.

    >>> truths = dict(gt_image_ids=["a"], gt_boxes=[[0, 0, 9, 9]], gt_difficult=[False])
    >>> boxes = [[50, 50, 59, 59], [0, 0, 9, 8]]
    >>> detection_average_precision(["a", "a"], [0.9, 0.8], boxes, **truths)
    0.5
    """
    image_ids, gt_image_ids = np.asarray(image_ids), np.asarray(gt_image_ids)
    scores, difficult = np.asarray(scores, np.float64), np.asarray(gt_difficult, bool)
    boxes, gt_boxes = (np.asarray(given, np.float64).reshape(-1, 4) for given in (boxes, gt_boxes))
    if interpolation not in ("11point", "voc2010"):
        raise ValueError(f"interpolation: must be 11point or voc2010, not {interpolation!r}")
    for name, ids, others in (
        ("", image_ids, (scores, boxes)),
        ("gt_", gt_image_ids, (difficult, gt_boxes)),
    ):
        if any(len(ids) != len(other) for other in others):
            raise ValueError(
                f"{name}image_ids and what belongs to them must be equally many, not {len(ids)}, "
                f"{[len(o) for o in others]}"
            )
    for values in (scores, boxes, gt_boxes):
        _refuse_nan(values)
    total = int(np.sum(~difficult))
    if not total or not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    _, numbers = np.unique(np.concatenate([image_ids, gt_image_ids]), return_inverse=True)
    truths, overlaps = _best_truths(
        numbers[: len(scores)][order], boxes[order], numbers[len(scores) :], gt_boxes
    )
    overlapping = overlaps >= iou_threshold
    counted = ~(overlapping & difficult[truths])
    first = np.zeros(len(scores), bool)
    first[np.flatnonzero(overlapping)[np.unique(truths[overlapping], return_index=True)[1]]] = True
    true = np.cumsum(first[counted])
    precision = true / np.arange(1, len(true) + 1)
    return (
        _eleven_points(true, precision, total)
        if interpolation == "11point"
        else _envelope_area(true, precision, total)
    )


def _best_truths(
    images: np.ndarray, boxes: np.ndarray, gt_images: np.ndarray, gt_boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each detection the truth of its image with the highest overlap.

    Args:
      images: [M] int.
      boxes: [M, 4] float64.
      gt_images: [G] int.
      gt_boxes: [G, 4] float64.

    Returns:
      [M] int64, the number of the truth (of equal overlaps the first), and [M] float64, the
      overlap; -inf: there is none.
    """
    by_image = np.argsort(gt_images, kind="stable")
    starts, stops = (
        np.searchsorted(gt_images[by_image], images, side) for side in ("left", "right")
    )
    truths, overlaps = np.zeros(len(images), np.int64), np.full(len(images), -np.inf)
    ends = np.cumsum(stops - starts)
    begin = 0
    while begin < len(images):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _BLOCK_OF_PAIRS, "right")))
        counts = stops[begin:end] - starts[begin:end]
        detection = np.repeat(np.arange(begin, end), counts)
        place = np.arange(len(detection)) - np.repeat(np.cumsum(counts) - counts, counts)
        truth = by_image[starts[detection] + place]
        overlap = _overlaps(boxes[detection], gt_boxes[truth])
        np.maximum.at(overlaps, detection, overlap)
        best = np.flatnonzero((overlap == overlaps[detection]) & (overlap > -np.inf))
        detections, rows = np.unique(detection[best], return_index=True)
        truths[detections] = truth[best[rows]]
        begin = end
    return truths, overlaps


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns intersection over union of boxes [P, 4] and others [P, 4]; -inf: they do not meet."""
    sides = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2]) + 1
    shared = sides[:, 0] * sides[:, 1]
    areas = [np.prod(given[:, 2:] - given[:, :2] + 1, axis=1) for given in (boxes, others)]
    return np.where(
        (sides > 0).all(1),
        shared / np.where((sides > 0).all(1), areas[0] + areas[1] - shared, 1),
        -np.inf,
    )


def _eleven_points(true: np.ndarray, precision: np.ndarray, total: int) -> float:
    """Returns the mean over i = 0..10 of the best precision where the recall is at least i / 10.

    The recall is true / total; 10 * true >= i * total compares whole numbers, so that no threshold
    is missed by rounding.

    Args:
      true: [M] int, how many of the surest 1, 2, ... are positive.
      precision: [M] float64, as a share of them.
      total: number of positives.
    """
    if not total or not len(true):
        return 0.0
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(sum(envelope[np.searchsorted(10 * true, i * total)] for i in range(11)) / 11)


def _envelope_area(true: np.ndarray, precision: np.ndarray, total: int) -> float:
    """Returns the area under the monotone envelope; arguments as of `_eleven_points`."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(true, prepend=0) / total * envelope))


def _refuse_nan(values: np.ndarray) -> None:
    if np.isnan(values).any():
        raise ValueError("a score or box is NaN")

"""Segmentation accuracy from one streaming confusion matrix.

The measures are those of Long, Shelhamer and Darrell 2015; experiments/PROTOCOLS.md, "Segmentation
(FCN)", says how they are used.
"""

import numpy as np
import numpy.typing as npt

# Value of pixels that belong to no class, in VOC's truths.
VOID = 255


class ConfusionMatrix:
    """Counts of pixels by true and predicted class over any number of images.

    Attributes:
      counts: [C, C] int64, rows the truth, columns the prediction.

    >>> matrix = ConfusionMatrix(num_classes=2)
    >>> matrix.update([[0, 0], [1, VOID]], [[0, 1], [1, 1]])
    >>> print(matrix.iou(), matrix.results()["mean_iou"])
    [0.5 0.5] 0.5
    """

    def __init__(self, num_classes: int, ignored: int = VOID):
        """Starts with no pixels.

        Args:
          num_classes: C, background included (21 in VOC).
          ignored: the value of pixels in the truth that do not count.
        """
        self.counts = np.zeros([num_classes, num_classes], np.int64)
        self._ignored = ignored

    def update(self, truth: npt.ArrayLike, prediction: npt.ArrayLike) -> None:
        """Adds the pixels of any number of images.

        Args:
          truth: integers of any shape, in [0, C) or `ignored`.
          prediction: integers of the same shape, in [0, C) wherever the truth counts.

        Raises:
          ValueError: shapes differ, or there is a class outside [0, C).
        """
        truths, predictions = np.asarray(truth), np.asarray(prediction)
        if truths.shape != predictions.shape:
            raise ValueError(
                f"truth is {truths.shape}, prediction {predictions.shape}; they must have one shape"
            )
        counted = truths != self._ignored
        truths, predictions = (
            truths[counted].astype(np.int64),
            predictions[counted].astype(np.int64),
        )
        num_classes = len(self.counts)
        for name, values in (("truth", truths), ("prediction", predictions)):
            if values.size and not 0 <= values.min() <= values.max() < num_classes:
                outside = int(values.max() if values.max() >= num_classes else values.min())
                raise ValueError(
                    f"class {outside} in the {name}; there are {num_classes}, numbered from 0"
                )
        pairs = np.bincount(truths * num_classes + predictions, minlength=num_classes**2)
        self.counts += pairs.reshape(num_classes, num_classes)

    def iou(self) -> np.ndarray:
        """Returns intersection over union of each class, [C] float64; NaN where it never occurs.

        That is diagonal / (sum of the row + sum of the column - diagonal).
        """
        right = np.diag(self.counts)
        return _ratio(right, self.counts.sum(1) + self.counts.sum(0) - right)

    def results(self) -> dict[str, float]:
        """Returns the three measures as shares in [0, 1]; all NaN where nothing was counted.

        `mean_iou`: mean of `iou` over the classes in the truth or the prediction; `pixel_accuracy`:
        share of right pixels; `mean_accuracy`: mean over the classes in the truth of their share of
        right pixels.
        """
        right = np.diag(self.counts)
        return dict(
            mean_iou=_mean(self.iou()),
            pixel_accuracy=float(_ratio(right.sum(), self.counts.sum())),
            mean_accuracy=_mean(_ratio(right, self.counts.sum(1))),
        )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Returns the quotient in float64; NaN for 0 / 0, without the warning."""
    with np.errstate(invalid="ignore"):
        return np.divide(numerator, denominator, dtype=np.float64)


def _mean(values: np.ndarray) -> float:
    """Returns the mean of what is not NaN; NaN if all are, without the warning."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

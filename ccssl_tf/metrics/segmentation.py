"""Segmentation accuracy from one streaming confusion matrix (Long, Shelhamer and Darrell 2015;
experiments/PROTOCOLS.md, "Segmentation (FCN)").
"""

import numpy as np

VOID = 255


class ConfusionMatrix:
    """Counts of pixels by true and predicted class over any number of images.

    Attributes:
      counts: [C, C] int64, rows the truth, columns the prediction.
    """

    def __init__(self, num_classes: int, ignored: int = VOID):
        """Starts from nothing.

        Args:
          num_classes: C, background included (21 in VOC).
          ignored: the value of pixels in the truth that do not count.
        """
        self.counts = np.zeros([num_classes, num_classes], np.int64)
        self._ignored = ignored

    def update(self, truth, prediction):
        """Adds the pixels of any number of images.

        Args:
          truth: integers [...] in [0, C) or `ignored`.
          prediction: integers of the same shape, in [0, C) wherever the truth counts.

        Raises:
          ValueError: shapes differ, or there is a class outside [0, C).
        """
        truth, prediction = np.asarray(truth), np.asarray(prediction)
        if truth.shape != prediction.shape:
            raise ValueError(
                f"truth is {truth.shape}, prediction {prediction.shape}; they must have one shape"
            )
        counted = truth != self._ignored
        truth, prediction = truth[counted].astype(np.int64), prediction[counted].astype(np.int64)
        num_classes = len(self.counts)
        for name, values in (("truth", truth), ("prediction", prediction)):
            if values.size and not 0 <= values.min() <= values.max() < num_classes:
                outside = int(values.max() if values.max() >= num_classes else values.min())
                raise ValueError(
                    f"class {outside} in the {name}; there are {num_classes}, numbered from 0"
                )
        self.counts += np.bincount(
            truth * num_classes + prediction, minlength=num_classes**2
        ).reshape(num_classes, num_classes)

    def iou(self) -> np.ndarray:
        """Returns intersection over union of each class, [C] float64: diag / (rows + columns -
        diag); NaN where a class never occurs.
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


def _ratio(numerator, denominator):
    with np.errstate(invalid="ignore"):
        return np.divide(numerator, denominator, dtype=np.float64)


def _mean(values):
    """nanmean without the warning where there is nothing."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

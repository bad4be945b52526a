"""How much colour the filters of a first convolution have (paper, Figure 4)."""

import numpy as np
import numpy.typing as npt


def colour_saturation(kernel: npt.ArrayLike) -> float:
    """Returns the share of the filters' squared weights that is colour, in [0, 1].

    Colour is what differs from the mean over red, green and blue: 0 of grey filters, two thirds of
    weights that are random in every channel, 1 where the channels cancel out. Filters weigh by
    their squares, so that dead ones count little.

    Args:
      kernel: [h, w, 3, filters] float, of images in RGB or BGR.

    Raises:
      ValueError: another shape, or weights that are all 0 or not finite.

    >>> import numpy as np
    >>> colour_saturation(np.ones([11, 11, 3, 96]))
    0.0
    """
    weights = np.asarray(kernel, np.float64)
    if weights.ndim != 4 or weights.shape[2] != 3:
        raise ValueError(f"expected filters of RGB images, [h, w, 3, filters], not {weights.shape}")
    energy = float(np.square(weights).sum())
    if not 0 < energy < np.inf:
        raise ValueError("the filters are all 0, or not finite")
    grey = weights.mean(2, keepdims=True)
    return float(np.square(weights - grey).sum() / energy)

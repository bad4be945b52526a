"""What storing features as float16 loses: measured, so that no loss goes unseen."""

from collections.abc import Iterable

import numpy as np

# The variance of what storing changes, over the variance of a column: up to so much is stored as
# float16 by itself, and up to so much if float16 is asked for.
_MAX_CHOSEN_LOSS = 1e-4
_MAX_LOSS = 1e-3
# Rows, at least, from which a type is chosen.
_SAMPLED_ROWS = 256


def chosen_dtype(batches: Iterable[np.ndarray]) -> str:
    """Returns "float16" if that keeps what tells the first rows of features apart, else "float32".

    Args:
      batches: of rows [n, D] float; only the first 256 rows are asked for, and those beside them.
    """
    precision, count = StoredPrecision(), 0
    for rows in batches:
        precision.add(rows)
        count += len(rows)
        if count >= _SAMPLED_ROWS:
            break
    return "float16" if precision.keeps_enough else "float32"


class StoredPrecision:
    """Compares columns of features with what float16 keeps of them.

    >>> precision = StoredPrecision()
    >>> precision.add(np.array([[0.5, 20000.3], [1.5, 20000.7]], np.float32))
    >>> print(precision.losses(), precision.keeps_enough)
    [0. 1.] False
    """

    def __init__(self):
        """Starts with no rows."""
        self._count, self._first = 0, None

    def add(self, rows: np.ndarray) -> None:
        """Takes note of rows [n, D], float."""
        rows = rows.astype(np.float64)
        if self._first is None:
            # Sums are of differences to the first row, so that a large mean costs no digits.
            self._first = rows[0].copy()
            self._sums = np.zeros([4, rows.shape[1]])
        self._count += len(rows)
        # What float16 cannot hold at all makes the sums infinite or NaN.
        with np.errstate(over="ignore", invalid="ignore"):
            errors = rows.astype(np.float16).astype(np.float64) - rows
            values = rows - self._first
            for total, summed in zip(
                self._sums, (values, values**2, errors, errors**2), strict=True
            ):
                total += summed.sum(axis=0)

    def losses(self) -> np.ndarray:
        """Returns the variance of the error over that of the values, by column: [D] float64.

        It is 0 where float16 keeps the column, or the column is constant, and 1 or more where it
        keeps nothing of it.
        """
        if not self._count:
            return np.zeros(0)
        values, value_squares, errors, error_squares = self._sums / self._count
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            variance = value_squares - values**2
            loss = (error_squares - errors**2) / variance
        # A column that varies by rounding alone is constant.
        is_constant = variance <= 1e-24 * (value_squares + self._first**2)
        return np.where(is_constant, 0, np.nan_to_num(loss, nan=np.inf))

    @property
    def keeps_enough(self) -> bool:
        """Whether rows like these may be stored as float16 without asking."""
        return bool(self.losses().max(initial=0) <= _MAX_CHOSEN_LOSS)

    def fault(self) -> str | None:
        """Returns what is lost, where it is too much even if float16 is asked for; else None."""
        losses = self.losses()
        lost = np.flatnonzero(losses > _MAX_LOSS)
        if not len(lost):
            return None
        worst = int(losses.argmax())
        return (
            f"float16 would lose {min(losses[worst], 1):.2%} of the variance of feature {worst}, "
            f"and more than {_MAX_LOSS:.1%} of {len(lost)} of {len(losses)}"
        )

"""Squared distances between rows and centroids: fast ones with bounds on their rounding, and exact ones.

Rounding: with u = 2^-24 a float32 dot product of D terms, added in any order, is off by at most g |x| |c|, g = D u / (1 - D u) (Higham,
Accuracy and Stability of Numerical Algorithms, section 3.1), and 2 |x| |c| <= |x|^2 + |c|^2. So |x|^2 - 2 x.c + |c|^2 is within
g (|x|^2 + |c|^2) of the truth; a few more u cover the shift by a common vector, the norms and the additions.
"""

import numpy as np
import tensorflow as tf


def rounding(dim: int) -> float:
    """Returns g: no sum of `dim` float32 products in these functions is off by more than this share of its absolute terms."""
    terms = (dim + 24) * 2.0**-24
    return 1.01 * terms / (1 - min(terms, 0.5))


def shift_centroids(centroids: np.ndarray, shift: np.ndarray):
    """Returns -2 (c - shift) as a tensor [K, D] float32, |c - shift|^2 [K] float32, and the latter as NumPy array."""
    shifted = centroids - shift
    norms = np.einsum("ij,ij->i", shifted, shifted, dtype=np.float64).astype(np.float32)
    return tf.constant(-2 * shifted), tf.constant(norms), norms


@tf.function(reduce_retracing=True)
def nearest(rows, centroids, shifted, norms, shift):
    """Returns the nearest centroids [n] int32 and the squared distances to them [n] float32, of rows [n, D] float32."""
    scores = norms + tf.matmul(rows - shift, shifted, transpose_b=True)
    labels = tf.argmin(scores, axis=-1, output_type=tf.int32)
    return labels, tf.reduce_sum(tf.math.squared_difference(rows, tf.gather(centroids, labels)), axis=-1)


@tf.function(reduce_retracing=True)
def squares_to(rows, index, centroids, labels):
    """Returns the squared distances [n] float32 of the rows [W, D] at `index` [n] to their centroids: off by at most g times themselves.

    The result for a row does not depend on what other rows are in `index`.
    """
    chosen = tf.cast(tf.gather(rows, index), tf.float32)
    return tf.reduce_sum(tf.math.squared_difference(chosen, tf.gather(centroids, labels)), axis=-1)


@tf.function(reduce_retracing=True)
def square_norms(rows, shift):
    """Returns |x - shift|^2 [n] float32 of rows [n, D]: off by at most g times themselves."""
    return tf.reduce_sum(tf.square(tf.cast(rows, tf.float32) - shift), axis=-1)


@tf.function(reduce_retracing=True)
def block(rows, index, shift, row_terms, shifted, column_terms):
    """Returns row_terms[:, None] + column_terms - 2 (x - shift).(c - shift): [n, c] float32.

    Args:
      rows: [W, D].
      index: [n] int32 of the rows wanted.
      shift: [D] float32.
      row_terms, column_terms: [n], [c] float32.
      shifted: [c, D] float32, -2 (c - shift).
    """
    chosen = tf.cast(tf.gather(rows, index), tf.float32) - shift
    return tf.matmul(chosen, shifted, transpose_b=True) + column_terms + row_terms[:, None]


def exact_squares(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Returns the squared distances of row i to centroid i in float64: [n]."""
    difference = rows.astype(np.float64) - centroids.astype(np.float64)
    return (difference * difference).sum(axis=1)


def add_rows(sums: np.ndarray, labels: np.ndarray, rows: np.ndarray, sign: int = 1):
    """Adds (sign 1) or subtracts (-1) the rows [n, D], in order, to or from the float64 sums [K, D] of their labels [n]."""
    change = np.add if sign > 0 else np.subtract
    for label, row in zip(labels.tolist(), rows, strict=True):
        change(sums[label], row, out=sums[label])

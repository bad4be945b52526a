"""Maxima of rectangles of a map, per channel, and their gradient: the TensorFlow part of
`ccssl_tf.layers.RoIPool`.

Maxima over all windows of 2^i x 2^j cells are tabulated, each table from a smaller one by one
comparison a cell; a rectangle of any size is then the maximum of four, overlapping, windows. A
rectangle costs the same however many cells it has.
"""

import tensorflow as tf

_LAST_CELL = 2**31 - 1


@tf.custom_gradient
def rectangle_maxima(x, images, tops, bottoms, lefts, rights):
    """Returns the maxima of N rectangles, [N, C] float32; 0 for those without cells.

    The gradient goes to the first of equal maxima in the order of rows (as Caffe's does), and is
    summed in a fixed order on a CPU.

    Args:
      x: [B, H, W, C] float32.
      images: [N] int32 in [0, B).
      tops, bottoms: [N] int32 in [0, H], first row and one past the last.
      lefts, rights: [N] int32 in [0, W], columns.
    """
    shape = tf.shape(x)
    empty = (bottoms <= tops) | (rights <= lefts)
    maxima = _maximal_keys(_keys(x), images, tops, bottoms, lefts, rights, empty)
    values = tf.where(empty[:, None], 0.0, _values(maxima))

    def gradient(upstream):
        # Places of one element each; those of empty rectangles are negative, which drops them.
        cells = tf.cast(_LAST_CELL - tf.bitwise.bitwise_and(maxima, _LAST_CELL), tf.int32)
        places = (images[:, None] * (shape[1] * shape[2]) + cells) * shape[3] + tf.range(shape[3])
        places = tf.where(empty[:, None], -1, places)
        # On a CPU each thread sums a part of the map, in order: the result is always the same.
        flat = tf.math.unsorted_segment_sum(
            tf.reshape(upstream, [-1]), tf.reshape(places, [-1]), tf.reduce_prod(shape)
        )
        return tf.reshape(flat, shape), None, None, None, None, None

    return values, gradient


def _keys(x):
    """Returns int64 whose order is that of the values, smaller cells first among equals: value in
    the upper half, cell in the lower.
    """
    bits = tf.bitcast(tf.where(x == 0, 0.0, x), tf.int32)  # -0 and 0 are equal.
    ordered = tf.where(bits < 0, tf.bitwise.bitwise_xor(bits, tf.int32.max), bits)
    height, width = tf.unstack(tf.shape(x, out_type=tf.int64)[1:3])
    cells = tf.reshape(tf.range(height * width), [height, width, 1])
    return tf.cast(ordered, tf.int64) * 2**32 + (_LAST_CELL - cells)


def _values(keys):
    ordered = tf.cast(tf.bitwise.right_shift(keys, tf.constant(32, tf.int64)), tf.int32)
    return tf.bitcast(
        tf.where(ordered < 0, tf.bitwise.bitwise_xor(ordered, tf.int32.max), ordered), tf.float32
    )


@tf.function(autograph=False)
def _maximal_keys(keys, images, tops, bottoms, lefts, rights, empty):
    """Returns the greatest key of each rectangle, [N, C] int64; any for empty ones."""
    rows, columns = tf.where(empty, 1, bottoms - tops), tf.where(empty, 1, rights - lefts)
    tops, lefts = tf.where(empty, 0, tops), tf.where(empty, 0, lefts)
    powers = tf.constant([2**i for i in range(1, 31)])
    i, j = (tf.searchsorted(powers, sizes, side="right") for sizes in (rows, columns))
    row_levels, column_levels = (tf.maximum(tf.reduce_max(level), 0) + 1 for level in (i, j))
    # Rectangles are taken table by table, and put back in order at the end.
    tables = i * column_levels + j
    order = tf.argsort(tables, stable=True)
    ends = tf.searchsorted(
        tf.gather(tables, order), tf.range(-1, row_levels * column_levels), side="right"
    )

    def maxima(table, number, window_rows, window_columns):
        numbers = order[ends[number] : ends[number + 1]]
        height, width = tf.unstack(tf.shape(table)[1:3])
        first_row, first_column = (
            tf.gather(images, numbers) * height + tf.gather(tops, numbers),
            tf.gather(lefts, numbers),
        )
        down, right = (
            tf.gather(rows, numbers) - window_rows,
            tf.gather(columns, numbers) - window_columns,
        )
        flat = tf.reshape(table, [-1, tf.shape(table)[3]])
        corners = [
            tf.gather(flat, (first_row + a) * width + first_column + b)
            for a in (0, down)
            for b in (0, right)
        ]
        return tf.maximum(tf.maximum(corners[0], corners[1]), tf.maximum(corners[2], corners[3]))

    table_shape = tf.TensorShape([keys.shape[0], None, None, keys.shape[3]])

    def row_level(i, tall, arrays):
        def column_level(j, table, arrays):
            number, window_columns = i * column_levels + j, tf.bitwise.left_shift(1, j)
            arrays = arrays.write(
                number, maxima(table, number, tf.bitwise.left_shift(1, i), window_columns)
            )
            count = tf.maximum(tf.shape(table)[2] - window_columns, 0) * tf.cast(
                j + 1 < column_levels, tf.int32
            )
            return (
                j + 1,
                tf.maximum(
                    table[:, :, :count], table[:, :, window_columns : window_columns + count]
                ),
                arrays,
            )

        shapes = [tf.TensorShape([]), table_shape, tf.TensorShape(None)]
        arrays = tf.while_loop(
            lambda j, *_: j < column_levels,
            column_level,
            [0, tall, arrays],
            shapes,
            parallel_iterations=1,
        )[2]
        window_rows = tf.bitwise.left_shift(1, i)
        count = tf.maximum(tf.shape(tall)[1] - window_rows, 0) * tf.cast(
            i + 1 < row_levels, tf.int32
        )
        return (
            i + 1,
            tf.maximum(tall[:, :count], tall[:, window_rows : window_rows + count]),
            arrays,
        )

    arrays = tf.TensorArray(
        keys.dtype,
        row_levels * column_levels,
        infer_shape=False,
        element_shape=[None, keys.shape[3]],
    )
    shapes = [tf.TensorShape([]), table_shape, tf.TensorShape(None)]
    arrays = tf.while_loop(
        lambda i, *_: i < row_levels, row_level, [0, keys, arrays], shapes, parallel_iterations=1
    )[2]
    return tf.gather(arrays.concat(), tf.math.invert_permutation(order))

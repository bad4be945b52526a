"""Max pooling of regions of interest (Girshick 2015, section 2.1), with the rounding of Caffe's
roi_pooling_layer.cpp.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="ccssl_tf")
class RoIPool(keras.layers.Layer):
    """Pools each region to pooled_height x pooled_width cells: their maxima, and 0 where a cell is
    empty.

    Corners are scaled and rounded, half away from zero; both are included; a region is at least one
    cell. Bin i of n spans floor(i * size / n) to ceil((i + 1) * size / n), so bins may overlap;
    what lies outside the map is cut off. The gradient goes to the first of equal maxima in the
    order of rows, under TensorFlow; other backends may share it out. Computed in float32.

    Args:
      pooled_height, pooled_width: cells.
      spatial_scale: cells of the map per pixel of the image; 1/16 for AlexNet's and VGG16's last
        convolution.
    """

    def __init__(self, pooled_height=6, pooled_width=6, spatial_scale=1 / 16, **kwargs):
        super().__init__(**kwargs)
        self.pooled_height, self.pooled_width, self.spatial_scale = (
            pooled_height,
            pooled_width,
            spatial_scale,
        )

    def call(self, feature_map, rois):
        """Pools regions.

        Args:
          feature_map: [B, H, W, C].
          rois: [R, 5] batch index, x1, y1, x2, y2 in pixels of the image, counted from 0.

        Returns:
          [R, pooled_height, pooled_width, C].
        """
        x, rois = ops.cast(feature_map, "float32"), ops.cast(rois, "float32")
        height, width = ops.shape(x)[1:3]
        corners = round_half_away(rois[:, 1:] * self.spatial_scale)
        rows = _bins(corners[:, 1], corners[:, 3], self.pooled_height, height)
        columns = _bins(corners[:, 0], corners[:, 2], self.pooled_width, width)
        every = ops.zeros([1, self.pooled_height, self.pooled_width], "int32")
        spans = [span[:, :, None] + every for span in rows] + [
            span[:, None, :] + every for span in columns
        ]
        spans.insert(0, ops.cast(rois[:, 0], "int32")[:, None, None] + every)
        spans = [ops.reshape(span, [-1]) for span in spans]
        if keras.backend.backend() == "tensorflow":
            from ccssl_tf.ops.region_maxima import rectangle_maxima

            pooled = rectangle_maxima(x, *spans)
        else:
            pooled = _rectangle_maxima(x, *spans)
        return ops.cast(
            ops.reshape(pooled, [-1, self.pooled_height, self.pooled_width, x.shape[3]]),
            feature_map.dtype,
        )

    def compute_output_shape(self, feature_map_shape, rois_shape):
        """[R, pooled_height, pooled_width, C]."""
        return (rois_shape[0], self.pooled_height, self.pooled_width, feature_map_shape[-1])

    def get_config(self):
        """The constructor's arguments."""
        own = dict(
            pooled_height=self.pooled_height,
            pooled_width=self.pooled_width,
            spatial_scale=self.spatial_scale,
        )
        return {**super().get_config(), **own}


def round_half_away(x):
    """Rounds to int32, halves away from zero, as C does."""
    magnitude = ops.abs(x)
    down = ops.floor(magnitude)
    return ops.cast(ops.sign(x) * (down + ops.cast(magnitude - down >= 0.5, "float32")), "int32")


def _bins(first, last, count: int, size):
    """Returns where the `count` bins of the spans first..last [R] begin and end (one past), [R,
    count] int32 in [0, size].
    """
    # Caffe's float32 arithmetic: the length of a bin is rounded before it is multiplied. TensorFlow
    # multiplies by 1 / count instead of dividing, which is as good as a division only if more
    # digits are carried.
    wide = "float64" if keras.backend.backend() == "tensorflow" else "float32"
    step = ops.cast(ops.cast(ops.maximum(last - first + 1, 1), wide)[:, None] / count, "float32")
    numbers = ops.arange(count, dtype="float32")
    starts = ops.cast(ops.floor(numbers * step), "int32") + first[:, None]
    ends = ops.cast(ops.ceil((numbers + 1) * step), "int32") + first[:, None]
    return ops.clip(starts, 0, size), ops.clip(ends, 0, size)


def _rectangle_maxima(x, images, tops, bottoms, lefts, rights):
    """As `ccssl_tf.ops.region_maxima`, on any backend: [B, H, W, C] with H and W known, rectangles
    [N] -> [N, C].
    """
    _, height, width, channels = x.shape
    empty = (bottoms <= tops) | (rights <= lefts)
    rows, columns = ops.where(empty, 1, bottoms - tops), ops.where(empty, 1, rights - lefts)
    tops, lefts = ops.where(empty, 0, tops), ops.where(empty, 0, lefts)
    tables, start = [], 0
    index = [0 * tops] * 4
    for i in range(height.bit_length()):
        x = x if i == 0 else ops.maximum(x[:, : -(2 ** (i - 1))], x[:, 2 ** (i - 1) :])
        table = x
        for j in range(width.bit_length()):
            table = (
                table
                if j == 0
                else ops.maximum(table[:, :, : -(2 ** (j - 1))], table[:, :, 2 ** (j - 1) :])
            )
            own = (
                (rows >= 2**i)
                & (rows < 2 ** (i + 1))
                & (columns >= 2**j)
                & (columns < 2 ** (j + 1))
            )
            corners = [
                (images * table.shape[1] + top) * table.shape[2]
                for top in (tops, tops + rows - 2**i)
            ]
            places = [
                start + corner + left
                for corner in corners
                for left in (lefts, lefts + columns - 2**j)
            ]
            index = [ops.where(own, place, old) for place, old in zip(places, index, strict=True)]
            tables.append(ops.reshape(table, [-1, channels]))
            start += table.shape[0] * table.shape[1] * table.shape[2]
    flat = ops.concatenate(tables)
    corners = [ops.take(flat, place, axis=0) for place in index]
    return ops.where(
        empty[:, None],
        0.0,
        ops.maximum(ops.maximum(corners[0], corners[1]), ops.maximum(corners[2], corners[3])),
    )

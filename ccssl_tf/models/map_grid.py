"""Where in the image the cells of a network's map lie: its strides, windows and paddings."""

import dataclasses

import keras

from ccssl_tf.layers import CeilMaxPooling2D
from ccssl_tf.runs.errors import InputError

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
_POOLS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)


@dataclasses.dataclass(frozen=True)
class Grid:
    """Cell i of a line sees a window of pixels centred at `stride * i + start`.

    The centre of pixel 0 is 0.

    Attributes:
      stride: pixels from one cell to the next.
      start: place of cell 0, a multiple of a half.
      multiple: the size, in pixels, must be a multiple of this: TensorFlow's "same" padding of a
        stride depends on the size.
    """

    stride: int = 1
    start: float = 0.0
    multiple: int = 1

    def after(self, size: int, stride: int = 1, before: int = 0) -> "Grid":
        """Returns the grid after a window of `size` cells; `before` cells pad the line's start."""
        return dataclasses.replace(
            self,
            stride=self.stride * stride,
            start=self.start + self.stride * ((size - 1) / 2 - before),
        )


def endpoint_grids(backbone) -> dict[str, Grid]:
    """Returns the grid of every endpoint of a backbone that is a map.

    Raises:
      InputError: a layer that is not square, or a network whose maps do not have the strides of its
        layers.
    """
    grids = {}
    for operation in backbone.operations:
        if isinstance(operation, keras.layers.InputLayer):
            grids[id(operation.output)] = Grid()
            continue
        # Branches that are joined lie on one grid.
        first = operation.input[0] if isinstance(operation.input, list | tuple) else operation.input
        grids[id(operation.output)] = _after(operation, grids[id(first)], backbone.name)
    of_maps = {
        name: grids[id(tensor)]
        for name, tensor in backbone.output.items()
        if len(tensor.shape) == 4
    }
    if backbone.input_shape[1] is None:
        shapes = [backbone.compute_output_shape([1, side, side, 3]) for side in (512, 1024)]
        for name, grid in of_maps.items():
            small, large = (shape[name][1] for shape in shapes)
            if (large - small) * grid.stride != 512:
                raise InputError(
                    f"{backbone.name}: where the cells of {name} lie cannot be told from its "
                    "layers; use another network"
                )
    return of_maps


def _after(layer, grid, network):
    """The grid behind one layer; layers without a window leave it as it is."""
    if isinstance(layer, keras.layers.ZeroPadding2D):
        return dataclasses.replace(grid, start=grid.start - grid.stride * layer.padding[0][0])
    if isinstance(layer, keras.layers.Conv2DTranspose):
        raise InputError(
            f"{network}: {layer.name} makes its map larger; networks whose maps only get smaller "
            "are known here"
        )
    if isinstance(layer, CeilMaxPooling2D):
        return grid.after(layer.pool_size, layer.strides)
    if isinstance(layer, _CONVOLUTIONS):
        (size, width), dilation = layer.kernel_size, layer.dilation_rate[0]
    elif isinstance(layer, _POOLS):
        (size, width), dilation = layer.pool_size, 1
    else:
        return grid
    if size != width:
        # As in Inception: such layers have stride 1 and lie within their map.
        return grid
    size, stride = (size - 1) * dilation + 1, layer.strides[0]
    if layer.padding == "valid":
        return grid.after(size, stride)
    if layer.padding != "same":
        raise InputError(
            f"{network}: padding {layer.padding} of {layer.name} is not known here; use another "
            "network"
        )
    moved = grid.after(size, stride, before=max(size - stride, 0) // 2)
    return (
        dataclasses.replace(moved, multiple=max(grid.multiple, moved.stride))
        if stride > 1
        else moved
    )

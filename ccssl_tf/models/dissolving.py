"""Models inside models, dissolved into their layers."""

from collections.abc import Callable

import keras


def dissolve(model: keras.Model, images, call: Callable):
    """Calls the layers of `model` on `images`, and those of models among its layers, one by one.

    Args:
      model: Functional or Sequential; any other is called as one layer.
      images: what it takes, e.g. a new `keras.Input`.
      call: (layer or operation, its arguments, its options) -> what is taken for its output.

    Returns:
      What the model returns.

    >>> import keras
    >>> inner = keras.Sequential([keras.layers.ReLU(), keras.layers.Flatten()])
    >>> outer = keras.Sequential([inner, keras.layers.Dense(2)])
    >>> images = keras.Input([4, 4, 3])
    >>> flat = keras.Model(images, dissolve(outer, images, lambda layer, *x, **o: layer(*x, **o)))
    >>> [type(layer).__name__ for layer in flat.layers]
    ['InputLayer', 'ReLU', 'Flatten', 'Dense']
    """

    def dissolved(layer, *arguments, **options):
        if isinstance(layer, keras.Sequential):
            for inner in layer.layers:
                arguments = [dissolved(inner, *arguments)]
            return arguments[0]
        if isinstance(layer, keras.Model) and isinstance(layer, keras.Function):
            return layer._run_through_graph(
                arguments[0], operation_fn=lambda operation: operation, call_fn=dissolved
            )
        return call(layer, *arguments, **options)

    return dissolved(model, images)

"""Functions that run on every replica of a strategy in this process, with what each one holds."""

import concurrent.futures
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy.typing as npt
import tensorflow as tf

from ccssl_tf import distribution

_Value = TypeVar("_Value")

# Called as run(function, *values): calls the function on every replica with its own of the values,
# and returns what it returned on the first.
Run = Callable[..., Any]


def on_each(strategy: tf.distribute.Strategy, make: Callable[[int], _Value]) -> list[_Value]:
    """Returns make(place), made on its device, for every replica of this process.

    Variables are plain ones of that device, also inside the scope of a strategy.
    """

    def make_all() -> list[_Value]:
        made = []
        for place, device in enumerate(distribution.replica_devices(strategy)):
            with tf.device(device):
                made.append(make(place))
        return made

    # The scope of a strategy, in which variables would be copied to all replicas, is one thread's.
    with concurrent.futures.ThreadPoolExecutor(1) as other_thread:
        return other_thread.submit(make_all).result()


def device_variable(
    value: npt.ArrayLike, dtype: tf.DType, shape: Sequence[int | None] | None = None
) -> tf.Variable:
    """Returns a variable; shape: if not that of the value, with None where others may be assigned.

    Functions are not traced anew for values of another number there.
    """
    return tf.Variable(value, dtype=dtype, trainable=False, shape=shape and tf.TensorShape(shape))


def compiled(
    body: Callable[..., Any], strategy: tf.distribute.Strategy, *values: Sequence
) -> Callable[..., Any]:
    """Returns a function of tensors as one `tf.function`.

    Args:
      body: called as body(run, *values, *tensors), see `Run`; a function of a module or class. What
        was traced of it for one fit is used for others of the same shapes.
      strategy: of the replicas.
      *values: each a list with a value for every replica, of tensors, variables and numbers in
        named tuples.
    """
    if strategy.num_replicas_in_sync == 1:
        return functools.partial(_compiled_alone(body), *(value[0] for value in values))
    placed = [distribution.to_replicas(list(value), strategy) for value in values]

    def run(function: Callable[..., Any], *arguments: Any) -> Any:
        return strategy.experimental_local_results(strategy.run(function, args=arguments))[0]

    return tf.function(lambda *tensors: body(run, *placed, *tensors), autograph=False)


@functools.cache
def _compiled_alone(body: Callable[..., Any]) -> Callable[..., Any]:
    def run(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    return tf.function(functools.partial(body, run), autograph=False)

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ccssl_tf.clustering.device import replicas

TRACED = []


class Counter(NamedTuple):
    value: tf.Variable
    place: int


def count_up(run, counter, amount):
    TRACED.append(1)

    def add(counter):
        counter.value.assign_add(amount)
        return counter.value.read_value()

    return run(add, counter)


def test_functions_of_one_replica_are_traced_once_for_all_of_a_kind():
    strategy = tf.distribute.get_strategy()
    for number in range(3):
        start = functools.partial(Counter, tf.Variable(np.full(2, 10 * number)))
        counters = replicas.on_each(strategy, start)
        function = replicas.compiled(count_up, strategy, counters)
        for _ in range(2):
            result = function(tf.constant([3, 3], tf.int64))
        np.testing.assert_array_equal(result, [10 * number + 6] * 2)
        np.testing.assert_array_equal(counters[0].value, result)
    assert len(TRACED) == 1 and counters[0].place == 0

"""Which held-out images a classifier answers rightly: what two networks are compared by, image by
image.
"""

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.task import Task

_PREFIX = "accuracy/"


def right_answers(task: Task, model) -> dict[str, np.ndarray]:
    """Returns layer -> [N] bool, in the order of the images: whether the answer is right.

    The layers are those of the task's metrics `accuracy/<layer>`. The strategy's replicas share the
    work.

    Args:
      task: with a held-out split of N images.
      model: that it has built.
    """
    strategy = tf.distribute.get_strategy()

    def of_replica(batch):
        _, metrics = task.loss(model, batch, training=False)
        right = {name: value for name, value in metrics.items() if name.startswith(_PREFIX)}
        return dict(right, index=batch["index"], weight=batch["weight"])

    answers = tf.function(lambda batch: strategy.run(of_replica, args=(batch,)), autograph=False)
    epoch = Epoch(task.settings.eval_batch_size, training=False)
    parts: dict[str, list[np.ndarray]] = {}
    for batch in distribution.deal_batches(task.dataset(task.eval_split, epoch, model), strategy):
        for name, value in answers(batch).items():
            of_replicas = strategy.experimental_local_results(value)
            parts.setdefault(name, []).extend(part.numpy() for part in of_replicas)
    rows = {
        name: distribution.concatenate_over_workers(np.concatenate(part), strategy)
        for name, part in sorted(parts.items())
    }
    counted = rows.pop("weight") > 0
    index = rows.pop("index")[counted]
    result = {}
    for name, value in rows.items():
        right = np.zeros(index.max() + 1, bool)
        right[index] = value[counted] > 0.5
        result[name.removeprefix(_PREFIX)] = right
    return result

"""One step of training: gradients of a batch in parts, decay, clipping, update; any strategy."""

import keras
import tensorflow as tf

from ccssl_tf.training import optimizers
from ccssl_tf.training.optimizers import OptimizerSettings


def step_function(
    task,
    model,
    optimizer,
    strategy,
    rules: OptimizerSettings,
    *,
    batch_size: int,
    accumulate_steps: int = 1,
    jit: bool = False,
):
    """Returns the compiled step: distributed batch -> sums of losses and metrics, `images` seen.

    Args:
      task: a `ccssl_tf.task.Task`.
      model: that it has built.
      optimizer: of Keras, built.
      strategy: in whose scope both were.
      rules: of decay, clipping and the biases' learning rate.
      batch_size: images a step, over all replicas and parts.
      accumulate_steps: parts a batch is computed in, one after the other.
      jit: compile with XLA.
    """
    variables = model.trainable_variables
    replicas = strategy.num_replicas_in_sync

    def part_step(batch):
        with tf.GradientTape() as tape:
            losses, metrics = task.loss(model, batch, training=True)
            objective = optimizer.scale_loss(tf.reduce_sum(losses) / batch_size)
        sums = {name: tf.reduce_sum(value) for name, value in dict(metrics, loss=losses).items()}
        sums["images"] = tf.cast(tf.shape(losses)[0], tf.float32)
        values = [variable.value for variable in variables]
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(objective, values, unconnected_gradients=zero), sums

    def replica_step(batch):
        gradients: list = []
        sums: dict = {}
        size = next(iter(batch.values())).shape[0] // accumulate_steps
        for number in range(accumulate_steps):
            rows = slice(number * size, (number + 1) * size)
            of_part, part_sums = part_step({name: value[rows] for name, value in batch.items()})
            if not sums:
                gradients, sums = of_part, part_sums
            else:
                gradients = [a + b for a, b in zip(gradients, of_part, strict=True)]
                sums = {name: sums[name] + part_sums[name] for name in sums}
        if rules.clip_gradients:
            gradients = optimizers.clip_gradients(optimizer, gradients, rules.clip_gradients)
        decay = rules.weight_decay / replicas
        gradients = optimizers.add_decay(optimizer, gradients, variables, decay, rules.decay_biases)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _agree_on_overflow(gradients)
        multiplier = rules.bias_learning_rate_multiplier
        gradients = optimizers.scale_bias_gradients(optimizer, gradients, variables, multiplier)
        optimizer.apply(gradients, variables)
        return sums

    run_replica = replica_step
    if jit:
        run_replica = tf.function(replica_step, jit_compile=True, autograph=False)

    # Batches of images of many sizes are to be traced once, not once a size.
    @tf.function(autograph=False, reduce_retracing=True)
    def step(batch):
        sums = strategy.run(run_replica, args=(batch,))
        add = tf.distribute.ReduceOp.SUM
        return {name: strategy.reduce(add, value, axis=None) for name, value in sums.items()}

    return step


def _agree_on_overflow(gradients):
    """Makes every replica's gradients not finite when one replica's are: Keras looks at one
    replica only before it skips a step.
    """
    poison = tf.add_n([tf.cast(tf.reduce_sum(gradient * 0), tf.float32) for gradient in gradients])
    context = tf.distribute.get_replica_context()
    poison = context.all_reduce(tf.distribute.ReduceOp.SUM, poison)
    return [gradient + tf.cast(poison, gradient.dtype) for gradient in gradients]

"""SGD and Adam with iteration schedules, Caffe's coupled weight decay and bias learning rate."""

import dataclasses

import keras
import tensorflow as tf

from ccssl_tf.runs.settings import Settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerSettings(Settings):
    """Optimizer.

    >>> from ccssl_tf import OptimizerSettings
    >>> OptimizerSettings(optimizer="adam", learning_rate=1e-3).learning_rate_schedule
    'step'
    """

    optimizer: str = setting(
        "sgd", "sgd is the paper's; adam suits short runs.", choices=["sgd", "adam"]
    )
    momentum: float = setting(0.9, "Of sgd.", minimum=0, maximum=1, paper=0.9)
    learning_rate: float = setting(0.01, "At the first step.", minimum=0, paper=0.01)
    learning_rate_schedule: str = setting(
        "step",
        "step: drops every --learning_rate_steps; cosine: to 0 at the end.",
        choices=["step", "cosine", "constant"],
    )
    learning_rate_steps: int = setting(100_000, "Steps between drops.", minimum=1, paper=100_000)
    learning_rate_factor: float = setting(
        0.1, "What is left of the learning rate after each drop.", minimum=0, maximum=1, paper=0.1
    )
    weight_decay: float = setting(
        5e-4, "Coupled L2 decay of kernels, not of biases.", minimum=0, paper=5e-4
    )
    decay_biases: bool = setting(False, "Weight decay of biases, too (in VOC classification).")
    clip_gradients: float = setting(
        0.0,
        "Norm of the gradient of all weights together, above which it is scaled down (10 in VOC "
        "classification); 0: never.",
        minimum=0,
    )
    bias_learning_rate_multiplier: float = setting(
        2.0, "Learning rate of biases under sgd, times this (2 in Caffe).", minimum=0
    )


def make_optimizer(settings: OptimizerSettings, train_steps: int = 1) -> keras.Optimizer:
    """Returns the Keras optimizer; decay, clipping and the biases' rate are the loop's.

    Args:
      settings: name, learning rate and schedule.
      train_steps: steps of the whole run, at which a cosine ends.
    """
    start = settings.learning_rate
    schedules = keras.optimizers.schedules
    rate = {
        "constant": lambda: start,
        "step": lambda: schedules.ExponentialDecay(
            start, settings.learning_rate_steps, settings.learning_rate_factor, staircase=True
        ),
        "cosine": lambda: schedules.CosineDecay(start, train_steps),
    }[settings.learning_rate_schedule]()
    if settings.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=settings.momentum)
    return keras.optimizers.Adam(rate)


def add_decay(optimizer, gradients, variables, weight_decay: float, decay_biases: bool = False):
    """Adds weight_decay * weight to the gradients of kernels, and of biases: Caffe's coupled decay,
    the gradient of an L2 term in the loss.

    Args:
      optimizer: which may scale the loss.
      gradients: one a variable.
      variables: of Keras.
      weight_decay: of each replica a share, as of the gradients.
      decay_biases: whether biases decay.
    """
    # Separable convolutions have a depthwise_kernel and a pointwise_kernel.
    names = ("kernel", "bias") if decay_biases else ("kernel",)
    factor = optimizer.scale_loss(tf.constant(weight_decay, tf.float32))
    return [
        gradient + factor * variable if weight_decay and variable.name.endswith(names) else gradient
        for gradient, variable in zip(gradients, variables, strict=True)
    ]


def clip_gradients(optimizer, gradients, norm: float):
    """Scales the gradient of the whole batch down to `norm` where it is longer (Caffe's
    clip_gradients); to be called on a replica.

    Args:
      optimizer: which may scale the loss.
      gradients: this replica's shares: their sum over the replicas is the gradient.
      norm: greatest Euclidean length, over all variables together.

    Returns:
      Shares again, equal on all replicas.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync > 1:
        gradients = [
            context.all_reduce(tf.distribute.ReduceOp.SUM, gradient) for gradient in gradients
        ]
    clipped, _ = tf.clip_by_global_norm(
        gradients, optimizer.scale_loss(tf.constant(norm, tf.float32))
    )
    return [gradient / context.num_replicas_in_sync for gradient in clipped]


def scale_bias_gradients(optimizer, gradients, variables, multiplier: float):
    """Multiplies the gradients of biases under SGD, which is to multiply their learning rate."""
    if not isinstance(getattr(optimizer, "inner_optimizer", optimizer), keras.optimizers.SGD):
        return gradients
    return [
        gradient * multiplier if variable.name == "bias" else gradient
        for gradient, variable in zip(gradients, variables, strict=True)
    ]

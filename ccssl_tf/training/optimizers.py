"""SGD and Adam with iteration schedules, and Caffe's coupled weight decay and bias
learning rate.
"""

import keras
import tensorflow as tf
from absl import flags

OPTIMIZER = flags.DEFINE_enum(
    "optimizer", "sgd", ["sgd", "adam"], "sgd is the paper's; adam suits short runs."
)
MOMENTUM = flags.DEFINE_float(
    "momentum", 0.9, "Of sgd (0.9 in the paper).", lower_bound=0, upper_bound=1
)
LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", 0.01, "At the first step (0.01 in the paper).", lower_bound=0
)
SCHEDULE = flags.DEFINE_enum(
    "learning_rate_schedule",
    "step",
    ["step", "cosine", "constant"],
    "step: drops every --learning_rate_steps; cosine: to 0 at the end.",
)
DECAY_STEPS = flags.DEFINE_integer(
    "learning_rate_steps", 100_000, "Steps between drops (100,000 in the paper).", lower_bound=1
)
DECAY_FACTOR = flags.DEFINE_float(
    "learning_rate_factor",
    0.1,
    "What is left of the learning rate after each drop (a tenth in the paper).",
    lower_bound=0,
    upper_bound=1,
)
WEIGHT_DECAY = flags.DEFINE_float(
    "weight_decay",
    5e-4,
    "Coupled L2 decay of kernels, not of biases (5e-4 in the paper).",
    lower_bound=0,
)
DECAY_BIASES = flags.DEFINE_bool(
    "decay_biases", False, "Weight decay of biases, too (in VOC classification)."
)
CLIP_GRADIENTS = flags.DEFINE_float(
    "clip_gradients",
    0,
    "Norm of the gradient of all weights together, above which it is scaled down (10 in VOC "
    "classification); 0: never.",
    lower_bound=0,
)
BIAS_MULTIPLIER = flags.DEFINE_float(
    "bias_learning_rate_multiplier",
    2.0,
    "Learning rate of biases under sgd, times this (2 in Caffe).",
)


def make_optimizer(
    name: str,
    learning_rate: float,
    *,
    schedule="step",
    decay_steps=100_000,
    decay_factor=0.1,
    train_steps=1,
    momentum=0.9,
):
    """Returns a Keras optimizer.

    Args:
      name: "sgd" or "adam".
      learning_rate: at step 0.
      schedule: "constant", "step" (times `decay_factor` every `decay_steps`) or "cosine" (to 0 at
        `train_steps`).
      decay_steps: steps.
      decay_factor: at most 1.
      train_steps: steps of the whole run.
      momentum: of sgd.
    """
    rate = {
        "constant": lambda: learning_rate,
        "step": lambda: keras.optimizers.schedules.ExponentialDecay(
            learning_rate, decay_steps, decay_factor, staircase=True
        ),
        "cosine": lambda: keras.optimizers.schedules.CosineDecay(learning_rate, train_steps),
    }[schedule]()
    return (
        keras.optimizers.SGD(rate, momentum=momentum)
        if name == "sgd"
        else keras.optimizers.Adam(rate)
    )


def from_flags(train_steps: int):
    """Returns the optimizer the flags describe."""
    return make_optimizer(
        OPTIMIZER.value,
        LEARNING_RATE.value,
        schedule=SCHEDULE.value,
        decay_steps=DECAY_STEPS.value,
        decay_factor=DECAY_FACTOR.value,
        train_steps=train_steps,
        momentum=MOMENTUM.value,
    )


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

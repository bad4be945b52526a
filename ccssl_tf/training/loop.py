"""The one training loop: every task, under every strategy, resumed exactly where it stopped."""

import contextlib
import math
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.runs import signals
from ccssl_tf.runs.errors import InputError, Interrupted
from ccssl_tf.runs.files import fingerprint_of
from ccssl_tf.runs.progress import Progress
from ccssl_tf.training import log as training_log
from ccssl_tf.training import optimizers
from ccssl_tf.training.checkpoints import Checkpoints


def train(
    task,
    build_backbone,
    optimizer,
    *,
    workdir,
    train_steps: int,
    batch_size: int,
    seed: int = 0,
    strategy=None,
    weight_decay: float = 0.0,
    bias_multiplier: float = 1.0,
    decay_biases: bool = False,
    clip_norm: float = 0.0,
    accumulate_steps: int = 1,
    jit: bool = False,
    log_steps: int = 50,
    eval_steps: int = 0,
    checkpoint_steps: int = 1000,
    fingerprints: dict | None = None,
):
    """Trains `task` for `train_steps` steps, continuing what `workdir` holds.

    The result does not depend on the number of replicas or on interruptions: the order of images
    and all randomness are functions of the seed, the epoch and the image. Of several workers the
    chief alone writes; a signal to one stops all at the same step.

    Args:
      task: a `ccssl_tf.task.Task`.
      build_backbone: called in the strategy's scope, returns the backbone to start from.
      optimizer: called in the strategy's scope, returns a Keras optimizer.
      workdir: directory of checkpoints, TensorBoard events and pictures.
      train_steps: steps from the first, not from here.
      batch_size: images a step, over all replicas and accumulation steps.
      seed: of the order of images and of all randomness in a step; first weights follow Keras's
        global seed.
      strategy: a tf.distribute strategy; the current one by default.
      weight_decay: coupled L2 decay of kernels.
      bias_multiplier: of the biases' learning rate under SGD.
      decay_biases: whether they decay, too.
      clip_norm: greatest length of the gradient before the decay is added; 0 for no limit.
      accumulate_steps: parts a batch is computed in, one after the other, for memory.
      jit: compile the step with XLA (one device only).
      log_steps: steps between progress records.
      eval_steps: steps between evaluations; 0: only after the last.
      checkpoint_steps: steps between checkpoints.
      fingerprints: what a checkpoint must agree on besides the architecture.

    Returns:
      (model, metrics dict, timing dict).

    Raises:
      InputError: sizes that cannot be, or a loss that is not finite.
      Interrupted: a signal arrived; a checkpoint was written.
    """
    workdir = pathlib.Path(workdir)
    strategy = strategy or tf.distribute.get_strategy()
    check_batch_size(batch_size, task, strategy.num_replicas_in_sync, accumulate_steps)
    with strategy.scope():
        model = task.build_model(build_backbone())
        optimizer = optimizer()
        optimizer.build(model.trainable_variables)
    agreed = dict(fingerprints or {}, architecture=fingerprint_of(model.backbone.architecture()))
    chief = distribution.is_chief(strategy)
    checkpoints = Checkpoints(workdir / "checkpoints", model, optimizer, agreed, writes=chief)
    history = checkpoints.restore() or dict(train=[], evaluation=[], pending={})
    rules = dict(
        weight_decay=weight_decay,
        bias_multiplier=bias_multiplier,
        decay_biases=decay_biases,
        clip_norm=clip_norm,
    )
    run_step = _step_function(
        task, model, optimizer, strategy, batch_size, accumulate_steps, jit, **rules
    )
    steps_per_epoch = int(
        task.dataset(
            task.train_split, batch_size, training=True, epoch_seed=(seed, 0)
        ).cardinality()
    )
    step = int(checkpoints.step.numpy())
    _refuse_different_starts(step, strategy)
    parameters = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    print(
        f"train  {parameters:,} parameters, {train_steps} steps of {batch_size} images "
        f"({train_steps / steps_per_epoch:.1f} epochs), "
        f"{strategy.num_replicas_in_sync} replica(s), from step {step}",
        flush=True,
    )
    pending = {name: tf.constant(value, tf.float32) for name, value in history["pending"].items()}
    progress, clock = Progress("train", train_steps, "steps", done=step), training_log.Clock()

    def save():
        _refuse_non_finite(pending, step, checkpoints)
        checkpoints.step.assign(step)
        checkpoints.save(
            dict(history, pending={name: float(value) for name, value in pending.items()})
        )

    def evaluate():
        """Evaluates if it is time to and an interrupted run has not; a signal ends it at once, that
        to one of several workers after it.
        """
        due = step == train_steps or (eval_steps and step and step % eval_steps == 0)
        if not due or (history["evaluation"] and history["evaluation"][-1]["step"] == step):
            return
        alone = distribution.worker(strategy)[1] == 1
        with clock.paused(), signals.interrupted_by_signal() if alone else contextlib.nullcontext():
            _evaluate(task, model, strategy, history, step)

    summaries = (
        tf.summary.create_file_writer(str(workdir / "tensorboard"))
        if chief
        else tf.summary.create_noop_writer()
    )
    with summaries.as_default(), signals.stop_on_signal() as stopping:
        evaluate()
        while step < train_steps:
            epoch, first_batch = divmod(step, steps_per_epoch)
            for batch in distribution.split_batches(
                task.dataset(task.train_split, batch_size, True, (seed, epoch), first_batch),
                strategy,
            ):
                sums = run_step(batch)
                step += 1
                pending = (
                    {name: pending[name] + value for name, value in sums.items()}
                    if pending
                    else sums
                )
                if step % log_steps == 0 or step == train_steps:
                    _refuse_non_finite(pending, step, checkpoints)
                    images = pending["images"]
                    record = {
                        name: float(value / images)
                        for name, value in pending.items()
                        if name != "images"
                    }
                    history["train"].append(dict(record, step=step))
                    pending = {}
                    clock.tick(step)
                    training_log.write_scalars("train", record, step)
                    progress.update(step, rate_scale=batch_size, rate_unit="images", **record)
                if step < train_steps:
                    try:
                        evaluate()
                    except Interrupted:
                        save()
                        raise
                if distribution.any_worker(stopping(), strategy):
                    save()
                    raise Interrupted(
                        f"stopped by a signal at step {step}; the same command continues from there"
                    )
                if step % checkpoint_steps == 0 or step == train_steps:
                    with clock.paused():
                        save()
                if step >= train_steps:
                    break
        evaluate()
        if chief:
            training_log.draw(task, model, workdir, step)
    metrics = dict(
        step=step,
        num_parameters=parameters,
        training={name: value for name, value in history["train"][-1].items() if name != "step"}
        if history["train"]
        else {},
        evaluation={
            name: value for name, value in history["evaluation"][-1].items() if name != "step"
        },
        facts=task.facts(),
        history={name: history[name] for name in ("train", "evaluation")},
    )
    # A run without two records has no rate, not one of 0.
    return (
        model,
        metrics,
        dict(images_per_second=round(clock.rate * batch_size, 1)) if clock.rate else {},
    )


def check_batch_size(batch_size: int, task, replicas: int, accumulate_steps: int):
    """Raises InputError unless a batch divides into equal parts that suit the task."""
    part = batch_size // (replicas * accumulate_steps)
    if part * replicas * accumulate_steps != batch_size or part % task.batch_multiple:
        raise InputError(
            f"--batch_size={batch_size}: must be a multiple of {replicas} replicas x "
            f"{accumulate_steps} accumulation steps x "
            f"{task.batch_multiple}"
        )


def _step_function(
    task,
    model,
    optimizer,
    strategy,
    batch_size,
    accumulate_steps,
    jit,
    *,
    weight_decay,
    bias_multiplier=1.0,
    decay_biases=False,
    clip_norm=0.0,
):
    """Returns the compiled step: distributed batch -> sums of losses and metrics and the number of
    `images`.
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
        return tape.gradient(
            objective, values, unconnected_gradients=tf.UnconnectedGradients.ZERO
        ), sums

    def replica_step(batch):
        gradients = sums = None
        for number in range(accumulate_steps):
            size = next(iter(batch.values())).shape[0] // accumulate_steps
            part = {
                name: value[number * size : (number + 1) * size] for name, value in batch.items()
            }
            part_gradients, part_sums = part_step(part)
            gradients = (
                part_gradients
                if gradients is None
                else [a + b for a, b in zip(gradients, part_gradients, strict=True)]
            )
            sums = (
                part_sums if sums is None else {name: sums[name] + part_sums[name] for name in sums}
            )
        if clip_norm:
            gradients = optimizers.clip_gradients(optimizer, gradients, clip_norm)
        gradients = optimizers.add_decay(
            optimizer, gradients, variables, weight_decay / replicas, decay_biases
        )
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _agree_on_overflow(gradients)
        optimizer.apply(
            optimizers.scale_bias_gradients(optimizer, gradients, variables, bias_multiplier),
            variables,
        )
        return sums

    run_replica = (
        tf.function(replica_step, jit_compile=True, autograph=False) if jit else replica_step
    )

    # Batches of images of many sizes are to be traced once, not once a size.
    @tf.function(autograph=False, reduce_retracing=True)
    def step(batch):
        sums = strategy.run(run_replica, args=(batch,))
        return {
            name: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            for name, value in sums.items()
        }

    return step


def _agree_on_overflow(gradients):
    """Makes every replica's gradients not finite when one replica's are: Keras looks at one replica
    only before it skips a step.
    """
    poison = tf.add_n([tf.cast(tf.reduce_sum(gradient * 0), tf.float32) for gradient in gradients])
    poison = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, poison)
    return [gradient + tf.cast(poison, gradient.dtype) for gradient in gradients]


def _refuse_non_finite(sums, step, checkpoints):
    if sums and not np.isfinite(float(sums["loss"])):
        raise InputError(
            f"the loss is not finite at step {step}; the checkpoint of step "
            f"{int(checkpoints.step.numpy())} is kept; "
            "lower --learning_rate, in another --workdir"
        )


def _evaluate(task, model, strategy, history, step):
    started = time.monotonic()
    with strategy.scope():
        record = task.evaluate(model)
    history["evaluation"].append(dict(record, step=step))
    training_log.report_evaluation(record, step, time.monotonic() - started)


def _refuse_different_starts(step, strategy):
    """Raises InputError where the workers did not find the same checkpoint."""
    steps = distribution.concatenate_over_workers(np.array([step]), strategy)
    if (steps != step).any():
        raise InputError(
            f"the workers found checkpoints of steps {sorted(set(steps.tolist()))}; --workdir must "
            "be storage that all of them share"
        )

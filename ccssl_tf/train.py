r"""Trains a task: a pretext task, the classification of clusters, or an evaluation of a frozen
backbone.

    python -m ccssl_tf.train --task=jigsaw_pp --backbone=alexnet --data_dir=DIR --workdir=DIR \
        --image_size=64 --train_steps=2000

A killed run continues when the same command is given again.
"""

import functools

from ccssl_tf.runs import launch, machine

tf = machine.quiet_tensorflow()

import keras
from absl import flags

from ccssl_tf import distribution, network_flags, registry, stage_flags, training
from ccssl_tf.data import pipeline, records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.models import backbone_file, rescale
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.workdir import Workdir
from ccssl_tf.training import optimizers

_TASK = flags.DEFINE_string("task", None, f"What to learn: {', '.join(registry.TASKS)}.")
_TRAIN_STEPS = flags.DEFINE_integer(
    "train_steps",
    350_000,
    "Steps to train for (350,000 for jigsaw_pp in the paper).",
    lower_bound=1,
)
_CHECKPOINT_STEPS = flags.DEFINE_integer(
    "checkpoint_steps", 1000, "Steps between checkpoints.", lower_bound=1
)
_LOG_STEPS = flags.DEFINE_integer(
    "log_steps", 50, "Steps between records of loss and metrics.", lower_bound=1
)
_EVAL_STEPS = flags.DEFINE_integer(
    "eval_steps",
    0,
    "Steps between evaluations on held-out images; 0: only at the end.",
    lower_bound=0,
)
_ACCUMULATE = flags.DEFINE_integer(
    "accumulate_steps",
    1,
    "Parts a batch is computed in, one after the other, to save memory.",
    lower_bound=1,
)
_PRECISION = flags.DEFINE_enum(
    "mixed_precision",
    "none",
    ["none", "float16", "bfloat16"],
    "Compute in half precision, keep float32 weights.",
)
_RESCALE = flags.DEFINE_bool(
    "rescale_init",
    False,
    "Before the first step, rescale the layers of the backbone on 160 training images so that all "
    "change at the same rate "
    "(Kraehenbuehl et al. 2016; for fine-tuning what a pretext task has learned).",
)
_JIT = flags.DEFINE_bool("jit", False, "Compile the step with XLA (one device only).")


def main():
    """Trains and writes backbone, metrics and pictures into the work directory."""
    if not _TASK.value or not stage_flags.DATA_DIR.value or not stage_flags.WORKDIR.value:
        raise FlagError("set --task, --data_dir and --workdir")
    strategy = distribution.make_strategy(distribution.STRATEGY.value)
    machine.seed_everything(launch.SEED.value)
    if _PRECISION.value != "none":
        keras.config.set_dtype_policy(f"mixed_{_PRECISION.value}")
    task = registry.lookup(registry.TASKS, _TASK.value, "task").from_flags()
    if _JIT.value and strategy.num_replicas_in_sync > 1:
        raise FlagError("--jit works on one device only; use --strategy=one or --nojit")
    data = Manifest.read(stage_flags.DATA_DIR.value, "images")
    training.check_batch_size(
        network_flags.BATCH_SIZE.value, task, strategy.num_replicas_in_sync, _ACCUMULATE.value
    )
    if data.num_examples(task.train_split) < network_flags.BATCH_SIZE.value:
        raise InputError(
            f"--batch_size={network_flags.BATCH_SIZE.value}: {stage_flags.DATA_DIR.value} has "
            f"{data.num_examples(task.train_split)} training images"
        )
    # Built once before anything is written, so that a network that cannot be is refused first.
    wanted = dict(with_fc=task.with_fc, colors=task.colors, keep_fc=task.keep_fc)
    network = registry.build_backbone(**wanted)
    task.build_model(network)
    if _RESCALE.value:
        rescale.refuse_batch_normalization(network)
    inputs = dict(
        data_dir=stage_flags.DATA_DIR.value,
        init_backbone=network_flags.init_backbone(),
        **task.inputs(),
    )
    chief = distribution.is_chief(strategy)
    workdir = Workdir(stage_flags.WORKDIR.value, inputs=inputs, writes=chief)
    if launch.DRY_RUN.value:
        workdir.check()
        print(
            f"would train {_TASK.value} on {data.num_examples(task.train_split)} images of "
            f"{stage_flags.DATA_DIR.value}, "
            f"{_TRAIN_STEPS.value} steps of {network_flags.BATCH_SIZE.value}, with {network.name} "
            f"({network.count_params():,} parameters), into {workdir.path}"
        )
        return
    machine.seed_everything(launch.SEED.value)
    with workdir:
        if workdir.is_done:
            print(f"{workdir.path}: already complete")
            return
        with records.naming_damage(stage_flags.DATA_DIR.value):
            build_backbone = functools.partial(registry.build_backbone, **wanted)
            if _RESCALE.value:
                build_backbone = rescaled(build_backbone, task)
            model, metrics, timing = training.train(
                task,
                build_backbone,
                lambda: with_loss_scale(optimizers.from_flags(_TRAIN_STEPS.value)),
                workdir=workdir.path,
                train_steps=_TRAIN_STEPS.value,
                batch_size=network_flags.BATCH_SIZE.value,
                seed=launch.SEED.value,
                strategy=strategy,
                weight_decay=optimizers.WEIGHT_DECAY.value,
                bias_multiplier=optimizers.BIAS_MULTIPLIER.value,
                decay_biases=optimizers.DECAY_BIASES.value,
                clip_norm=optimizers.CLIP_GRADIENTS.value,
                accumulate_steps=_ACCUMULATE.value,
                jit=_JIT.value,
                log_steps=_LOG_STEPS.value,
                eval_steps=_EVAL_STEPS.value,
                checkpoint_steps=_CHECKPOINT_STEPS.value,
                fingerprints=dict(task=_TASK.value, data=data.fingerprint(task.train_split)),
            )
        if chief and task.trains_backbone:
            backbone_file.save_backbone(model.backbone, workdir.path)
        if chief and task.saves_classifier:
            backbone_file.save_model(model, workdir.path / backbone_file.CLASSIFIER_FILE_NAME)
        if chief and task.model_file:
            backbone_file.save_model(model, workdir.path / task.model_file)
        workdir.finish(
            metrics=dict(metrics, task=_TASK.value, backbone=model.backbone.name), timing=timing
        )
        # A worker that left earlier would look like one that died.
        distribution.wait_for_workers(strategy)
        if chief and (definition := metrics["facts"].get("definition")):
            print(f"definition  {definition}")
        print(f"done  {workdir.path}", flush=True)


def rescaled(build_backbone, task):
    """Returns a function that builds the same network with rescaled weights (see
    `ccssl_tf.models.rescale`).

    The rescaling is done here, once, under no strategy; the random layers are those --init_backbone
    does not fill.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    network = build_backbone()
    keras.config.set_dtype_policy(policy)
    start = network_flags.init_backbone()
    with_kernel = {layer.name for layer in network.layers if hasattr(layer, "kernel")}
    fresh = with_kernel - (
        {layer.name for layer in network.transferred_layers(task.keep_fc)} if start else set()
    )
    images = pipeline.evaluation_images(
        stage_flags.DATA_DIR.value,
        task.train_split,
        image_size=network_flags.IMAGE_SIZE.value,
        batch_size=rescale.BATCH_SIZE,
    )
    batches = [network.normalize(batch["image"]) for batch in images.take(rescale.NUM_BATCHES)]
    scales = rescale.rescale(network, batches, fresh=fresh, seed=launch.SEED.value)
    print(
        f"rescaled  {'  '.join(f'{name} {scale:.3g}' for name, scale in scales.items())}",
        flush=True,
    )
    machine.seed_everything(launch.SEED.value)

    def build():
        copy = build_backbone()
        for layer in copy.layers:
            if layer.name in scales:
                layer.set_weights(network.get_layer(layer.name).get_weights())
        copy.weights_from = dict(copy.weights_from or {}, rescaled=scales)
        return copy

    return build


def with_loss_scale(optimizer):
    """Wraps the optimizer for float16, whose small gradients would vanish."""
    return (
        keras.optimizers.LossScaleOptimizer(optimizer)
        if _PRECISION.value == "float16"
        else optimizer
    )


if __name__ == "__main__":
    launch.launch(main, __doc__)

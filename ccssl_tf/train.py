r"""Trains a task: a pretext task, the classification of clusters, or an evaluation of a backbone.

    python -m ccssl_tf.train --task=jigsaw_pp --backbone=alexnet --data_dir=DIR --workdir=DIR \
        --image_size=64 --train_steps=2000

A killed run continues when the same command is given again.
"""

import dataclasses

from ccssl_tf.runs import machine

tf = machine.quiet_tensorflow()

import keras
import numpy as np

from ccssl_tf import distribution, registry
from ccssl_tf.data import image_batches, image_facts, outcomes, records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.distribution import StrategySettings
from ccssl_tf.knowledge_transfer.attention_transfer import AttentionTransfer
from ccssl_tf.models import backbone_file, rescale, start
from ccssl_tf.models.start import NetworkSettings
from ccssl_tf.runs.command import Command, overview_of
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.fields import as_text
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.run_record import FREE_FLAGS, format_command
from ccssl_tf.runs.settings import CommandSettings, WorkdirSettings, lookup, setting
from ccssl_tf.runs.workdir import Workdir
from ccssl_tf.task import TaskSettings
from ccssl_tf.training import LoopSettings, OptimizerSettings, tensorboard, tracking, train
from ccssl_tf.training.loop_settings import check_batch_size

# A training beyond these epochs is rather a mistake in --train_steps; the paper's has 70.
_MANY_EPOCHS = 1000
# Images whose size is looked at.
_LOOKED_AT = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSettings(CommandSettings, WorkdirSettings, StrategySettings):
    """This command."""

    task: str = setting(help="What to learn; `--help` alone lists the tasks.")
    rescale_init: bool = setting(
        False,
        "Before the first step, rescale the layers of the backbone on 160 training images so that "
        "all change at the same rate (Kraehenbuehl et al. 2016; for fine-tuning what a pretext "
        "task has learned).",
    )
    log_to: tuple[str, ...] = setting(
        (),
        "Where numbers and settings go besides TensorBoard: wandb, mlflow or both (extras of these "
        "names).",
        choices=tuple(tracking.TRACKERS),
    )


def chosen(selected):
    """Returns the settings classes of the task and the network that --task and others name; without
    a task, those all tasks share.
    """
    if selected["task"] is None:
        return [TaskSettings, NetworkSettings]
    tasks = _task_classes(selected["task"], selected["base_task"])
    return [*tasks, *start.settings_classes(registry.BACKBONES, selected)]


def _task_classes(name, base_task=None):
    kind = lookup(registry.TASKS, name, "task")
    if kind is not AttentionTransfer:
        return [kind.Settings]
    return [kind.Settings, _base_kind(base_task or kind.Settings.base_task).Settings]


def _base_kind(name):
    return lookup(registry.BASE_TASKS, name, "base_task")


def owners():
    """Returns label -> settings classes of every task, network and extractor there is."""
    tasks = {f"--task={name}": _task_classes(name) for name in registry.TASKS}
    bases = {f"--base_task={name}": [kind.Settings] for name, kind in registry.BASE_TASKS.items()}
    networks = {f"--backbone={name}": [kind.Settings] for name, kind in registry.BACKBONES.items()}
    extractors = {
        f"ccssl_tf.extract --extractor={name}": [kind.Settings]
        for name, kind in registry.EXTRACTORS.items()
    }
    return tasks | bases | networks | extractors


COMMAND = Command(
    "ccssl_tf.train",
    __doc__,
    (TrainSettings, LoopSettings, OptimizerSettings),
    selectors=("task", "base_task", "backbone", "init_backbone"),
    chosen=chosen,
    owners=owners,
    overview=lambda: overview_of("task", registry.TASKS),
)


def build_task(values):
    """Builds the task that the settings of the command name."""
    name = values[TrainSettings].task
    kind = lookup(registry.TASKS, name, "task")
    if kind is not AttentionTransfer:
        return kind(values[kind.Settings])
    settings = values[kind.Settings]
    base = _base_kind(settings.base_task)
    return kind(base(values[base.Settings]), settings)


def main(values):
    """Trains and writes backbone, metrics and pictures into the work directory."""
    (data_dir,) = {group.data_dir for group in values if isinstance(group, TaskSettings)}
    with records.naming_damage(data_dir):
        _train(values)


def _train(values):
    command, loop = values[TrainSettings], values[LoopSettings]
    directory = command.required_workdir()
    tracking.check(command.log_to)
    machine.print_devices()
    strategy = distribution.make_strategy(command.strategy)
    machine.seed_everything(loop.seed)
    if loop.mixed_precision != "none":
        keras.config.set_dtype_policy(f"mixed_{loop.mixed_precision}")
    task = build_task(values)
    if loop.jit and strategy.num_replicas_in_sync > 1:
        raise FlagError("--jit works on one device only; use --strategy=one or --nojit")
    data_dir = task.settings.data_dir
    data = Manifest.read(data_dir, "images")
    check_batch_size(loop, task, strategy.num_replicas_in_sync)
    count = data.num_examples(task.train_split)
    if count < loop.batch_size:
        raise InputError(f"--batch_size={loop.batch_size}: {data_dir} has {count} training images")
    _refuse_nothing_to_keep(task, values[NetworkSettings])
    _warn(task, loop, count)
    network = start.Start.from_values(
        registry.BACKBONES, values, image_size=task.settings.image_size
    )
    values, described = _tried(values, task, network)
    inputs = dict(data_dir=data_dir, init_backbone=values[NetworkSettings].path, **task.inputs())
    chief = distribution.is_chief(strategy)
    workdir = Workdir(directory, inputs=inputs, settings=values, writes=chief)
    if command.dry_run:
        workdir.check()
        print(
            f"would train {command.task} on {count} images of {data_dir}, {loop.train_steps} "
            f"steps of {loop.batch_size}, with {described}, into {workdir.path}"
        )
        return
    machine.seed_everything(loop.seed)
    with workdir:
        if workdir.is_done:
            print(f"{workdir.path}: already complete")
            return
        told, trackers = _described(values), command.log_to if chief else ()
        if chief:
            tensorboard.describe(workdir.path, format_command(values.command()), told)
        with tracking.tracked(trackers, workdir.path, told) as writers:
            trained = train(
                task,
                _builder(values, task, network),
                loop,
                values[OptimizerSettings],
                workdir=workdir.path,
                strategy=strategy,
                fingerprints=dict(task=command.task, data=data.fingerprint(task.train_split)),
                writers=writers,
            )
        with strategy.scope():
            answered = task.outcomes(trained.model)
        if chief:
            _save(trained.model, task, workdir.path)
            if answered:
                outcomes.write_outcomes(answered, workdir.path)
        told = dict(trained.metrics, task=command.task, backbone=trained.model.backbone.name)
        workdir.finish(metrics=told, timing=trained.timing)
        # A worker that left earlier would look like one that died.
        distribution.wait_for_workers(strategy)
        if chief and (definition := trained.metrics["facts"].get("definition")):
            print(f"definition  {definition}")
        print(f"done  {workdir.path}", flush=True)


def _described(values):
    """Returns the settings of a run as numbers and words, by name."""
    return {
        name: value if isinstance(value, bool | int | float) else as_text(value)
        for name, (_, value) in values.by_name.items()
        if value is not None and name not in FREE_FLAGS
    }


def _refuse_nothing_to_keep(task, network: NetworkSettings):
    if task.keep_fc and not network.path:
        raise FlagError(
            "fully connected layers are to be kept (--keep_fc, or --frozen_until=fc6 or fc7), but "
            "no --init_backbone=DIR has any; name one"
        )


def _warn(task, loop, num_images):
    """Says what is rarely meant: very many epochs, or images that are enlarged."""
    epochs = loop.train_steps * loop.batch_size / num_images
    if epochs > _MANY_EPOCHS:
        print(
            f"warning: {loop.train_steps} steps of {loop.batch_size} are {epochs:,.0f} epochs of "
            f"{num_images} images; --train_steps sets their number",
            flush=True,
        )
    size = task.settings.image_size
    sides = image_facts.short_sides(task.settings.data_dir, task.train_split, _LOOKED_AT)
    if (typical := np.median(sides)) < size:
        print(
            f"warning: images are enlarged: their shorter side has about {typical:.0f} pixels, "
            f"--image_size={size}",
            flush=True,
        )


def _wanted(task):
    return dict(with_fc=task.with_fc, colors=task.colors, keep_fc=task.keep_fc)


def _tried(values, task, network):
    """Builds the model once and lets it go, so that one that cannot be is refused before anything
    is written.

    Returns:
      The settings with what was left open as it is in that model, and the network in words.
    """
    backbone = network.build(**_wanted(task))
    task.build_model(backbone)
    if values[TrainSettings].rescale_init:
        rescale.refuse_batch_normalization(backbone)
    values = network.resolved(values, backbone).resolved(*task.resolved(backbone))
    return values, f"{backbone.name} ({backbone.count_params():,} parameters)"


def _save(model, task, directory):
    if task.trains_backbone:
        backbone_file.save_backbone(model.backbone, directory)
    if task.saves_classifier:
        backbone_file.save_model(model, directory / backbone_file.CLASSIFIER_FILE_NAME)
    if task.model_file:
        backbone_file.save_model(model, directory / task.model_file)


def _builder(values, task, network):
    """Returns the function that builds the network to start from, rescaled where that is wanted
    (see `ccssl_tf.models.rescale`).

    The rescaling is done here, once, under no strategy; the random layers are those --init_backbone
    does not fill.
    """

    def build():
        return network.build(**_wanted(task))

    if not values[TrainSettings].rescale_init:
        return build
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    backbone = build()
    keras.config.set_dtype_policy(policy)
    scales, weights = _rescaled(values, task, backbone)
    machine.seed_everything(values[LoopSettings].seed)

    def build_rescaled():
        copy = build()
        for layer in copy.layers:
            if layer.name in scales:
                layer.set_weights(weights[layer.name])
        copy.weights_from = dict(copy.weights_from or {}, rescaled=scales)
        return copy

    return build_rescaled


def _rescaled(values, task, backbone):
    """Rescales the network; returns the scales and the weights of its layers by name."""
    with_kernel = {
        layer.name
        for layer in backbone.layers
        if isinstance(layer, keras.layers.Dense | keras.layers.Conv2D)
    }
    filled = (
        {layer.name for layer in backbone.transferred_layers(task.keep_fc)}
        if values[NetworkSettings].path
        else set()
    )
    images = image_batches.evaluation_images(
        task.settings.data_dir,
        task.train_split,
        image_size=task.settings.image_size,
        batch_size=rescale.BATCH_SIZE,
    )
    batches = [backbone.normalize(batch["image"]) for batch in images.take(rescale.NUM_BATCHES)]
    seed = values[LoopSettings].seed
    scales = rescale.rescale(backbone, batches, fresh=with_kernel - filled, seed=seed)
    shown = "  ".join(f"{name} {scale:.3g}" for name, scale in scales.items())
    print(f"rescaled  {shown}", flush=True)
    return scales, {name: backbone.get_layer(name).get_weights() for name in scales}


if __name__ == "__main__":
    launch(COMMAND, main)

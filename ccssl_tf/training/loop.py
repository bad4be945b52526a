"""The one training loop: every task, under every strategy, resumed exactly where it stopped."""

import contextlib
import math
import pathlib
import typing
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.runs import signals
from ccssl_tf.runs.errors import InputError, Interrupted
from ccssl_tf.runs.files import fingerprint_of
from ccssl_tf.runs.settings import whole_or_fields
from ccssl_tf.training import log
from ccssl_tf.training.checkpoints import Checkpoints
from ccssl_tf.training.finite_loss import RecentLosses, images_of
from ccssl_tf.training.health import health_of
from ccssl_tf.training.loop_settings import LoopSettings, check_batch_size
from ccssl_tf.training.monitor import Monitor
from ccssl_tf.training.optimizers import OptimizerSettings, make_optimizer
from ccssl_tf.training.step import step_function
from ccssl_tf.training.tracking import ScalarWriter


class Trained(typing.NamedTuple):
    """What a training made: the model, what `metrics.json` and what `timing.json` say of it."""

    model: keras.Model
    metrics: dict
    timing: dict


def train(
    task,
    backbone,
    settings: LoopSettings | None = None,
    optimizer: OptimizerSettings | None = None,
    *,
    workdir,
    strategy=None,
    fingerprints: dict | None = None,
    writers: Sequence[ScalarWriter] = (),
    **fields,
) -> Trained:
    """Trains `task` for `train_steps` steps, continuing what `workdir` holds.

    The result does not depend on the number of replicas or on interruptions: the order of images
    and all randomness are functions of the seed, the epoch and the image. Of several workers the
    chief alone writes; a signal to one stops all at the same step. First weights follow Keras's
    global seed.

    Args:
      task: a `ccssl_tf.task.Task`.
      backbone: a backbone to start from, or a function that makes one in the strategy's scope.
      settings: of the loop; or its fields by name.
      optimizer: its settings; by default the paper's.
      workdir: directory of checkpoints, records, TensorBoard events and pictures, made if absent.
      strategy: a tf.distribute strategy; the current one by default.
      fingerprints: what a checkpoint must agree on besides the architecture.
      writers: get the numbers that TensorBoard gets, in the chief.

    Returns:
      The model, metrics and timing.

    Raises:
      InputError: sizes that cannot be, or a loss that is not finite.
      Interrupted: a signal arrived; a checkpoint was written.

    >>> from ccssl_tf import AlexNet, Rotation, train
    >>> backbone = AlexNet(stem="small", width_multiplier=0.1, fc_units=())
    >>> task = Rotation(data_dir=data_dir, image_size=32)
    >>> train(task, backbone, workdir=workdir, train_steps=1, batch_size=8).metrics["step"]
    train ...
    1
    """
    settings = whole_or_fields(LoopSettings, settings, fields)
    run = _Run(task, backbone, settings, optimizer or OptimizerSettings(), workdir, strategy)
    return run.train(fingerprints or {}, writers)


class _Run:
    """What one training keeps while it goes on."""

    def __init__(self, task, backbone, settings, rules, workdir, strategy):
        self.task, self.settings, self.rules = task, settings, rules
        self.backbone = backbone
        self.workdir = pathlib.Path(workdir)
        self.strategy = strategy or tf.distribute.get_strategy()
        self.chief = distribution.is_chief(self.strategy)
        self.result = None
        self.losses = RecentLosses()
        check_batch_size(settings, task, self.strategy.num_replicas_in_sync)

    def _build(self, fingerprints, writers):
        """Builds model, optimizer and step, and restores the last checkpoint."""
        settings = self.settings
        with self.strategy.scope():
            backbone = self.backbone
            self.model = self.task.build_model(
                backbone if isinstance(backbone, keras.Model) else backbone()
            )
            optimizer = make_optimizer(self.rules, settings.train_steps)
            if settings.mixed_precision == "float16":
                # Small gradients would vanish.
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            optimizer.build(self.model.trainable_variables)
        architecture = fingerprint_of(self.model.backbone.architecture())
        self.checkpoints = Checkpoints(
            self.workdir / "checkpoints",
            self.model,
            optimizer,
            dict(fingerprints, architecture=architecture),
            writes=self.chief,
        )
        self.history = dict(log.new_history(), pending={}) | (self.checkpoints.restore() or {})
        self.step = int(self.checkpoints.step.numpy())
        self.pending = {
            name: tf.constant(value, tf.float32) for name, value in self.history["pending"].items()
        }
        self.monitor = Monitor(
            self.workdir,
            settings,
            self.history,
            self.model,
            lambda: float(tf.convert_to_tensor(optimizer.learning_rate)),
            step=self.step,
            writes=self.chief,
            writers=writers if self.chief else (),
        )
        self.health = health_of(self.model.backbone, self.task, settings.num_health_images)
        self.run_step = step_function(
            self.task,
            self.model,
            optimizer,
            self.strategy,
            self.rules,
            batch_size=settings.batch_size,
            accumulate_steps=settings.accumulate_steps,
            jit=settings.jit,
        )

    def _epoch(self, number, first_batch=0):
        epoch = Epoch(self.settings.batch_size, self.settings.seed, number, first_batch)
        return self.task.dataset(self.task.train_split, epoch, self.model)

    def _batches(self, steps_per_epoch):
        """Yields the batches from the present step on, epoch after epoch, for the replicas."""
        while True:
            epoch = self._epoch(*divmod(self.step, steps_per_epoch))
            yield from distribution.split_batches(epoch, self.strategy)

    def train(self, fingerprints, writers) -> Trained:
        """Trains to the last step."""
        self._build(fingerprints, writers)
        settings, last = self.settings, self.settings.train_steps
        steps_per_epoch = self.steps_per_epoch = int(self._epoch(0).cardinality())
        _refuse_different_starts(self.step, self.strategy)
        parameters = sum(math.prod(variable.shape) for variable in self.model.trainable_variables)
        print(
            f"train  {parameters:,} parameters, {last} steps of {settings.batch_size} images "
            f"({last / steps_per_epoch:.1f} epochs), "
            f"{self.strategy.num_replicas_in_sync} replica(s), from step {self.step}",
            flush=True,
        )
        with contextlib.closing(self.monitor), signals.stop_on_signal() as stopping:
            self._look_if_due()
            batches = self._batches(steps_per_epoch)
            while self.step < last:
                self.monitor.step(
                    self.step + 1,
                    batches,
                    self._take_step,
                    self._wait_for_devices,
                    begins_epoch=self.step % steps_per_epoch == 0,
                )
                self._tell()
                if self.step < last:
                    self._look_or_save()
                if distribution.any_worker(stopping(), self.strategy):
                    self._save()
                    raise Interrupted(
                        f"stopped by a signal at step {self.step}; the same command continues "
                        "from there"
                    )
                if self.step % settings.checkpoint_steps == 0 or self.step == last:
                    with self.monitor.paused():
                        self._save()
            self._look_if_due()
            if self.chief:
                self._draw()
        return Trained(self.model, self._metrics(parameters), self.monitor.timing())

    def _take_step(self, batch):
        sums = self.run_step(batch)
        self.step += 1
        self.losses.add(self.step, sums["loss"])
        pending = self.pending
        if pending:
            sums = {name: pending[name] + value for name, value in sums.items()}
        self.pending = sums

    def _wait_for_devices(self):
        if self.pending:
            float(self.pending["images"])

    def _tell(self):
        if self.monitor.is_due(self.step):
            self._refuse_non_finite()
            images = self.pending["images"]
            means = {
                name: float(value / images)
                for name, value in self.pending.items()
                if name != "images"
            }
            self.monitor.tell(means, self.step)
            if self.monitor.is_record(self.step):
                self.pending = {}
        self.monitor.tell_weights(self.step)

    def _draw(self):
        from ccssl_tf.pictures.filters import draw_filters

        pictures = self.task.pictures(self.model, self.result)
        filters = draw_filters(self.model.backbone)
        self.monitor.log.board.pictures(dict(pictures, conv1_filters=filters), self.step)

    def _save(self):
        self._refuse_non_finite()
        self.checkpoints.step.assign(self.step)
        pending = {name: float(value) for name, value in self.pending.items()}
        # A resumed run tells again what comes after the checkpoint, and only that.
        self.monitor.log.board.flush()
        self.checkpoints.save(dict(self.history, pending=pending))

    def _refuse_non_finite(self):
        if self.pending and not np.isfinite(float(self.pending["loss"])):
            kept = int(self.checkpoints.step.numpy())
            step = self.losses.first_not_finite() or self.step
            batch = next(iter(self._epoch(*divmod(step - 1, self.steps_per_epoch))))
            images = images_of(batch, self.task.settings.data_dir, self.task.train_split)
            raise InputError(
                f"the loss is not finite at step {step}, of {images}; the checkpoint of step "
                f"{kept} is kept; lower --learning_rate, in another --workdir, or look at the "
                "images"
            )
        self.losses.clear()

    def _look_or_save(self):
        alone = distribution.worker(self.strategy)[1] == 1
        if not alone and self._looks_due():
            # A signal to one of several ends that one at once, and the others lose a peer.
            self._save()
        try:
            self._look_if_due()
        except Interrupted:
            if alone:
                self._save()
            raise

    def _looks_due(self):
        """Group of records -> what measures them, where it is time to and an interrupted run has
        not.
        """
        every = self.settings.eval_steps
        looks = {"evaluation": (self._evaluated, every)}
        if self.health:
            looks["health"] = self.health.measure, self.settings.health_steps or every
        return {
            group: measure
            for group, (measure, every) in looks.items()
            if self.step == self.settings.train_steps
            or (every and self.step and self.step % every == 0)
            if not (self.history[group] and self.history[group][-1]["step"] == self.step)
        }

    def _look_if_due(self):
        """Evaluates and looks at the features; a signal ends it at once."""
        for group, measure in self._looks_due().items():
            with signals.interrupted_by_signal(), self.strategy.scope():
                self.monitor.look(group, self.step, measure)

    def _evaluated(self):
        self.result = self.task.evaluate(self.model)
        return self.result.metrics

    def _metrics(self, parameters) -> dict:
        history = {group: self.history[group] for group in log.GROUPS if self.history[group]}
        last = {
            group: {key: value for key, value in records[-1].items() if key != "step"}
            for group, records in history.items()
        }
        return dict(
            step=self.step,
            num_parameters=parameters,
            training=last.pop("train", {}),
            evaluation=last.pop("evaluation", {}),
            facts=self.task.facts(self.model, self.result),
            history=dict(train=[], evaluation=[]) | history,
            **last,
        )


def _refuse_different_starts(step, strategy):
    """Raises InputError where the workers did not find the same checkpoint."""
    steps = distribution.concatenate_over_workers(np.array([step]), strategy)
    if (steps != step).any():
        raise InputError(
            f"the workers found checkpoints of steps {sorted(set(steps.tolist()))}; --workdir must "
            "be storage that all of them share"
        )

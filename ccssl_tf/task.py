"""The Task contract: all the training loop knows of what is being learned."""

import abc

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf import distribution


class Task(abc.ABC):
    """What is learned from which images. A task asks a backbone for endpoints; a backbone never
    knows a task.

    Attributes:
      with_fc: whether the backbone is to be built with its fully connected layers.
      colors: what the backbone is to see, "rgb", "gray" or "lab_halves"; None: what the one it
        starts from saw, RGB if it is new.
      trains_backbone: False for evaluations of a frozen backbone, whose weights are then not saved
        again.
      keep_fc: whether the fully connected layers, too, are those of the backbone it starts from;
        else they start random.
      saves_classifier: whether the trained model maps images to `logits` by itself and is kept as
        `classifier.keras`.
      model_file: name of the file the whole trained model is kept in, besides its backbone; None
        for none.
      train_split: the split that is trained on.
      eval_split: the held-out split; None where there is none.
      eval_batch_size: images a batch of it.
      batch_multiple: what the batch of one replica (and accumulation step) must be a multiple of.
    """

    batch_multiple = 1
    with_fc = False
    colors = None
    trains_backbone = True
    saves_classifier = False
    model_file = None
    keep_fc = False
    train_split = "train"
    eval_split = None
    eval_batch_size = 64

    @classmethod
    @abc.abstractmethod
    def from_flags(cls) -> "Task":
        """Builds the task from its module's flags; raises InputError where they cannot be right."""

    @abc.abstractmethod
    def dataset(
        self, split: str, batch_size: int, training: bool, epoch_seed, first_batch: int = 0
    ) -> tf.data.Dataset:
        """Returns the batches of one epoch (see `ccssl_tf.data.pipeline`), each with `seed` [B, 2];
        evaluation adds `weight` [B].
        """

    @abc.abstractmethod
    def build_model(self, backbone) -> keras.Model:
        """Returns the trainable model around `backbone`, with `.backbone`."""

    @abc.abstractmethod
    def loss(self, model, batch: dict, training: bool) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns per-example losses [B] float32 and per-example metrics, each [B] float32."""

    def evaluate(self, model) -> dict[str, float]:
        """Returns the mean loss and metrics over the held-out split, every example counted once; {}
        where there is none.
        """
        return (
            self.mean_over_split(model, self.eval_split, self.eval_batch_size)
            if self.eval_split
            else {}
        )

    def pictures(self, model) -> dict:
        """Returns name -> [H, W, 3] uint8: what goes in, what is asked, what the model answers."""
        return {}

    def inputs(self) -> dict[str, str]:
        """Returns flag name -> path of what the task reads besides the images and the first
        backbone.
        """
        return {}

    def facts(self) -> dict:
        """Returns what a reader of the numbers must know, e.g. the chance level."""
        return {}

    def mean_over_split(self, model, split: str, batch_size: int) -> dict[str, float]:
        """Returns the means of `loss`'s losses and metrics over every example of `split`; the
        strategy's replicas share the work.
        """
        strategy = tf.distribute.get_strategy()
        if self._evaluated_model is not model:
            self._evaluated_model = model
            self._evaluation_sums = tf.function(
                lambda batch: strategy.run(self._weighted_sums, args=(batch,)), autograph=False
            )
        totals = {}
        for batch in distribution.deal_batches(
            self.dataset(split, batch_size, training=False, epoch_seed=(0, 0)), strategy
        ):
            for name, value in self._evaluation_sums(batch).items():
                for of_batch in strategy.experimental_local_results(value):
                    totals[name] = totals.get(name, 0.0) + float(of_batch)
        names = sorted(totals)
        totals = dict(
            zip(
                names,
                distribution.sum_over_workers(
                    np.array([totals[name] for name in names]), strategy
                ).tolist(),
                strict=True,
            )
        )
        count = totals.pop("weight")
        return {name: value / count for name, value in totals.items()}

    _evaluated_model = None

    def _weighted_sums(self, batch):
        losses, metrics = self.loss(self._evaluated_model, batch, training=False)
        per_example = dict(metrics, loss=losses, weight=tf.ones_like(losses))
        return {name: tf.reduce_sum(value * batch["weight"]) for name, value in per_example.items()}

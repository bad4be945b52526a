"""The contracts: what the loop knows of a task, and the stage of extraction of an extractor."""

import abc
import dataclasses
import typing
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.data import image_batches
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.runs.settings import Settings, setting, whole_or_fields

__all__ = ["Epoch", "Extractor", "ImageSettings", "ImageTask", "Result", "Task", "TaskSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSettings(Settings):
    """How large images are shown to a network."""

    image_size: int = setting(
        227,
        "Side of an image: 255 for jigsaw tasks, 227 otherwise in the paper; 64 for small images.",
        unit="pixels",
        minimum=8,
        maximum=4096,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskSettings(ImageSettings):
    """What every task reads."""

    data_dir: str = setting(
        help="Directory of image shards written by a data_prep command.",
    )
    eval_batch_size: int = setting(
        64, "Images a batch in evaluation; fewer take less memory.", minimum=1, maximum=2**16
    )


@dataclasses.dataclass(frozen=True)
class Result:
    """What an evaluation found.

    Attributes:
      metrics: name -> number on the held-out images.
      facts: what `facts` adds to what is known without an evaluation, JSON.
      shown: what `pictures` draws, where the task says so.

    >>> from ccssl_tf import Result
    >>> Result(dict(accuracy=0.5)).metrics["accuracy"]
    0.5
    """

    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    facts: dict = dataclasses.field(default_factory=dict)
    shown: object = None


class Task(abc.ABC):
    """What is learned from which images.

    A task asks a backbone for endpoints; a backbone never knows a task. It keeps nothing between
    calls but what is a function of its settings, so its methods may be called in any order, on any
    model it has built.

    Attributes:
      Settings: class of its settings.
      settings: what it was made from; what was left open and is known without a backbone is set.
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
      is_evaluation: whether it tells what a backbone has learned by something else.
      train_split: the split that is trained on.
      eval_split: the held-out split; None where there is none.
      batch_multiple: what the batch of one replica (and accumulation step) must be a multiple of.

    >>> from ccssl_tf import Rotation, Task
    >>> issubclass(Rotation, Task), Rotation.with_fc
    (True, True)
    """

    Settings: typing.ClassVar[type[TaskSettings]] = TaskSettings
    settings: typing.Any
    batch_multiple = 1
    with_fc = False
    colors: str | None = None
    trains_backbone = True
    saves_classifier = False
    model_file: str | None = None
    keep_fc = False
    is_evaluation = False
    train_split = "train"
    eval_split: str | None = None

    def __init__(self, settings: TaskSettings | None = None, **fields):
        """Takes the settings, or their fields by name.

        Raises:
          InputError: they do not fit the images; FlagError: they can never be right.
        """
        self.settings = whole_or_fields(type(self).Settings, settings, fields)

    @abc.abstractmethod
    def dataset(self, split: str, epoch: Epoch, model=None) -> tf.data.Dataset:
        """Returns the batches of one epoch (see `ccssl_tf.data.pipeline`).

        Args:
          split: split of the images.
          epoch: which one, and how large its batches are.
          model: the one that will see them; a task may let it compute once what never changes.

        Returns:
          Dataset of dicts, each with `seed` [B, 2]; evaluation adds `weight` [B].
        """

    @abc.abstractmethod
    def build_model(self, backbone) -> keras.Model:
        """Returns the trainable model around `backbone`, with `.backbone`."""

    @abc.abstractmethod
    def loss(self, model, batch: dict, training: bool) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns per-example losses [B] float32 and per-example metrics, each [B] float32."""

    def evaluate(self, model) -> Result:
        """Returns the mean loss and metrics over the held-out split, every example counted once;
        nothing where there is none.
        """
        if not self.eval_split:
            return Result()
        return Result(self.mean_over_split(model, self.eval_split, self.settings.eval_batch_size))

    def pictures(self, model, result: Result | None = None) -> dict:
        """Returns name -> [H, W, 3] uint8: what goes in, what is asked, what the model answers.

        Args:
          model: one that this task has built.
          result: of its evaluation, where there was one.
        """
        return {}

    def pictured_batch(self, count: int, model=None) -> dict:
        """Returns the first `count` held-out images, or training images where none are held out,
        as a batch.
        """
        epoch = Epoch(count, training=False)
        return next(iter(self.dataset(self.eval_split or self.train_split, epoch, model)))

    def inputs(self) -> dict[str, str]:
        """Returns flag -> path of what the task reads besides the images and the first backbone."""
        return {}

    def facts(self, model, result: Result | None = None) -> dict:
        """Returns what a reader of the numbers must know, e.g. the chance level; arguments as of
        `pictures`.
        """
        return {}

    def outcomes(self, model) -> dict[str, np.ndarray]:
        """Returns layer -> [N] bool: which held-out images are answered rightly; {} where there is
        no right answer to an image.
        """
        return {}

    def resolved(self, backbone) -> tuple[TaskSettings, ...]:
        """Returns the settings, of a task added to another one those of both, with what was left
        open as it is on this backbone.
        """
        return (self.settings,)

    def mean_over_split(self, model, split: str, batch_size: int) -> dict[str, float]:
        """Returns the means of `loss`'s losses and metrics over every example of `split`; the
        strategy's replicas share the work.
        """
        strategy = tf.distribute.get_strategy()
        sums = self._sums_of(model, strategy)
        batches = self.dataset(split, Epoch(batch_size, training=False), model)
        totals: dict[str, float] = {}
        for batch in distribution.deal_batches(batches, strategy):
            for name, value in sums(batch).items():
                for of_batch in strategy.experimental_local_results(value):
                    totals[name] = totals.get(name, 0.0) + float(of_batch)
        names = sorted(totals)
        numbers = np.array([totals[name] for name in names])
        over_workers = distribution.sum_over_workers(numbers, strategy).tolist()
        totals = dict(zip(names, over_workers, strict=True))
        count = totals.pop("weight")
        return {name: value / count for name, value in totals.items()}

    # The last model evaluated and its compiled sums: tracing them takes seconds.
    _compiled: tuple | None = None

    def _sums_of(self, model, strategy):
        if self._compiled is None or self._compiled[:2] != (model, strategy):

            def of_replica(batch):
                losses, metrics = self.loss(model, batch, training=False)
                per_example = dict(metrics, loss=losses, weight=tf.ones_like(losses))
                weight = batch["weight"]
                return {name: tf.reduce_sum(x * weight) for name, x in per_example.items()}

            sums = tf.function(
                lambda batch: strategy.run(of_replica, args=(batch,)), autograph=False
            )
            self._compiled = model, strategy, sums
        return self._compiled[2]


class ImageTask(Task):
    """A task on whole images whose split val, where there is one, is held out."""

    def __init__(self, settings: TaskSettings | None = None, **fields):
        """Takes the settings or their fields."""
        super().__init__(settings, **fields)
        self.eval_split = image_batches.held_out_split(self.settings.data_dir)

    def dataset(self, split, epoch, model=None):
        """Batches of `image` [B, S, S, 3] uint8.

        Random mirrored crops in training, the centre otherwise.
        """
        size, data_dir = self.settings.image_size, self.settings.data_dir
        return image_batches.augmented_images(data_dir, split, epoch, image_size=size)


class Extractor(abc.ABC):
    """What turns images into feature rows.

    Attributes:
      Settings: class of its settings.
      settings: what it was made from, what was left open as it is.
      needs_backbone: whether it is made of a backbone, `Extractor(backbone, settings)`, instead of
        its settings alone.
      dim: D, numbers a row.

    >>> from ccssl_tf import EndpointExtractor, Extractor
    >>> issubclass(EndpointExtractor, Extractor), EndpointExtractor.needs_backbone
    (True, True)
    """

    Settings: typing.ClassVar[type[Settings]]
    settings: typing.Any
    needs_backbone = False
    dim: int

    @abc.abstractmethod
    def describe(self) -> dict:
        """Returns what the manifest says of the features: `extractor` with its parameters, and
        `backbone_fingerprint` where there is a network.
        """

    @abc.abstractmethod
    def batches(
        self, data_dir, split: str, shards: list[int]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (index [n] int64, features [n, D] float32) for the images of the shards, in order;
        no batch is of two shards.
        """

    def inputs(self) -> dict[str, str]:
        """Returns flag -> path of what is read besides the images and the backbone."""
        return {}

    def check(self, data_dir, split: str) -> None:
        """Raises InputError where the extractor does not fit these images."""
        return

    def prepare(self, data_dir, split: str, directory, should_stop=None) -> None:
        """Learns what has to be learned before the first row, and keeps it in `directory`."""
        return

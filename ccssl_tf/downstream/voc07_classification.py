"""VOC 2007 classification (paper Table 3; Kraehenbuehl et al. 2016): fine-tuning for 20 yes-or-no
questions, mean average precision.

The published program (experiments/PROTOCOLS.md, "VOC classification"): the sigmoid cross-entropies
of the classes are summed, those of an image's difficult-only classes ignored; crops have a random
scale; an image's scores are summed over ten random crops; average precision is scikit-learn's area
of that time (trapezoid), with every positive's score lowered by 1e-5 against ties that would favour
the method. Beside it: one crop, today's step area, and the devkit's 11 points. How crops of a
random scale were cut could not be verified: see `image_ops.random_scale_crop`.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.data import image_ops, pipeline, voc_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.downstream import class_presence, class_ranking
from ccssl_tf.downstream.kept_layers import KeptLayersSettings, start_in_words
from ccssl_tf.downstream.splits import SplitSettings
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.pictures.ranking import draw_rankings
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.settings import setting
from ccssl_tf.task import Epoch, Result, Task, TaskSettings

_FC_DEVIATION, _FC_BIAS = 0.01, 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Voc07ClassificationSettings(TaskSettings, SplitSettings, KeptLayersSettings):
    """--task=voc07_classification."""

    freeze: str = setting(
        "all",
        "What is TRAINED, in the protocol's words: all layers, fc6 to fc8, or the classifier "
        "alone.",
        choices=["all", "fc678", "fc8"],
    )
    random_crops: int = setting(
        10, "Random crops an image's scores are summed over.", minimum=1, maximum=1000, paper=10
    )
    crop_scales: tuple[float, ...] = setting(
        (0.5, 2.0),
        "Smallest and largest random scale of the photo.",
        paper=(0.5, 2.0),
        minimum=0.01,
        maximum=100,
    )
    eval_batch_size: int = setting(
        16,
        "Images a batch in evaluation, each in --random_crops crops; fewer take less memory.",
        minimum=1,
        maximum=2**16,
    )

    def check(self):
        """Two scales, in order."""
        super().check()
        text = ",".join(f"{scale:g}" for scale in self.crop_scales)
        if len(self.crop_scales) != 2:
            raise FlagError(f"--crop_scales={text}: expected two numbers, e.g. 0.5,2")
        if not 0 < self.crop_scales[0] <= self.crop_scales[1]:
            raise FlagError(f"--crop_scales={text}: must be above 0, the smallest first")


class Voc07Classification(Task):
    """Tells which of the classes are in a photo, one sigmoid each; mean average precision.

    Attributes:
      class_names: [C].

    >>> from ccssl_tf import Voc07Classification
    >>> task = Voc07Classification(data_dir=voc_dir, image_size=32)
    >>> task.train_split, task.eval_split
    ('trainval', 'test')
    """

    Settings = Voc07ClassificationSettings

    with_fc = True
    is_evaluation = True
    saves_classifier = True

    def __init__(self, settings: Voc07ClassificationSettings | None = None, **fields):
        """Takes the settings or their fields.

        Raises:
          InputError: see `class_presence.presence_classes`.
        """
        super().__init__(settings, **fields)
        settings = self.settings
        self.keep_fc = settings.keep_fc
        self.train_split, self.eval_split = settings.train_split, settings.eval_split
        self.class_names = class_presence.presence_classes(
            settings.data_dir, (self.train_split, self.eval_split)
        )

    def dataset(self, split, epoch, model=None):
        """Batches of `presence` [B, C] int64 and `image` [B, S, S, 3] uint8, one random crop; in
        evaluation [B, crops, S, S, 3].
        """
        settings = self.settings

        def crop(parsed, seed):
            scales = settings.crop_scales
            return image_ops.random_scale_crop(
                parsed["encoded"], settings.image_size, *scales, seed
            )

        def load(parsed):
            presence = class_presence.checked_presence(
                parsed, settings.data_dir, split, len(self.class_names)
            )
            if epoch.training:
                return dict(image=crop(parsed, parsed["seed"]), presence=presence)
            seeds = [parsed["seed"] - [number, 0] for number in range(settings.random_crops)]
            return dict(image=tf.stack([crop(parsed, seed) for seed in seeds]), presence=presence)

        return pipeline.batches(
            settings.data_dir, split, epoch, load=load, parse=voc_records.parse_voc_image
        )

    def build_model(self, backbone):
        """A classifier; fully connected layers as the protocol starts them, unless they are kept or
        were rescaled on the data.
        """
        freeze = self.settings.freeze
        start_again = not (self.keep_fc or "rescaled" in (backbone.weights_from or {}))
        for layer in backbone.layers:
            if start_again and isinstance(layer, keras.layers.Dense):
                _start(layer)
            layer.trainable = freeze == "all" or (
                freeze == "fc678" and isinstance(layer, keras.layers.Dense)
            )
        model = build_classifier(backbone, len(self.class_names), self.settings.image_size)
        _start(model.get_layer("logits"))
        return model

    def loss(self, model, batch, training):
        """Sum over the classes of the sigmoid cross-entropy, what is only there as difficult
        objects left out.
        """
        images = batch["image"]
        if images.shape.rank == 5:
            logits = _crop_logits(model, images)[:, 0]
        else:
            with per_example_seeds(batch["seed"]):
                logits = model(model.backbone.normalize(images), training=training)["logits"]
        return class_presence.presence_loss(logits, batch["presence"]), {}

    def evaluate(self, model):
        """Mean average precision of the sums over the crops and of one crop, by every definition,
        and the classes' own; `shown` are the sums and the presence, [N, C] each.
        """
        summed, single, presence = self._scores(model)
        shown = class_ranking.shown_classes(presence)
        if not shown:
            raise InputError(
                f"{self.settings.data_dir}: split {self.eval_split} shows none of the "
                f"{len(self.class_names)} classes"
            )
        metrics = class_ranking.mean_average_precisions(summed, presence)
        metrics |= class_ranking.mean_average_precisions(single, presence, "_one_crop")
        for number, precision in class_ranking.precisions_of_classes(summed, presence).items():
            metrics[f"average_precision/{self.class_names[number]}"] = precision
        facts = dict(
            chance=class_ranking.chance(presence),
            classes_not_shown=[n for i, n in enumerate(self.class_names) if i not in shown],
        )
        return Result(metrics, facts, shown=(summed, presence))

    def _scores(self, model):
        """Returns the scores of every image of the held-out split, summed over crops and of the
        first alone, and presence: [N, C] each.
        """
        settings, strategy = self.settings, tf.distribute.get_strategy()

        def on_replica(batch):
            logits = _crop_logits(model, batch["image"])
            return dict(
                summed=tf.reduce_sum(logits, 1),
                single=logits[:, 0],
                **{k: batch[k] for k in ("presence", "index", "weight")},
            )

        run = tf.function(lambda batch: strategy.run(on_replica, args=(batch,)), autograph=False)
        num_images = Manifest.read(settings.data_dir, "images").num_examples(self.eval_split)
        shape = num_images, len(self.class_names)
        rows = {name: np.zeros(shape, np.float64) for name in ("summed", "single", "presence")}
        data = self.dataset(self.eval_split, Epoch(settings.eval_batch_size, training=False))
        for batch in distribution.deal_batches(data, strategy):
            parts = {
                name: strategy.experimental_local_results(value)
                for name, value in run(batch).items()
            }
            for replica, weight in enumerate(parts["weight"]):
                counted = weight.numpy() > 0
                index = parts["index"][replica].numpy()[counted]
                for name, values in rows.items():
                    values[index] = parts[name][replica].numpy()[counted]
        return [distribution.sum_over_workers(values, strategy) for values in rows.values()]

    def pictures(self, model, result=None):
        """`ranking`: the photos each class is surest of; they are scored again where no result has
        the scores.
        """
        if result is None or result.shown is None:
            summed, _, presence = self._scores(model)
        else:
            summed, presence = result.shown
        return dict(
            ranking=draw_rankings(
                self.settings.data_dir, self.eval_split, self.class_names, summed, presence
            )
        )

    def facts(self, model, result=None):
        """What was trained, and how the numbers are computed; chance is the mean share of
        positives, which an evaluation tells.
        """
        settings = self.settings
        behind = dict(
            all="all layers trained",
            fc678="layers behind pool5 trained",
            fc8="the classifier alone trained",
        )[settings.freeze]
        fc = start_in_words(self.keep_fc)
        return dict(
            dict(chance=None),
            **(result.facts if result else {}),
            num_classes=len(self.class_names),
            class_names=self.class_names,
            freeze=settings.freeze,
            random_crops=settings.random_crops,
            splits=dict(train=self.train_split, evaluation=self.eval_split),
            definition=f"mean over classes of average precision on {self.eval_split}, scores "
            f"summed over {settings.random_crops} random crops, "
            "trapezoid area (step area, 11 points and one crop beside it), difficult ignored, "
            "after the last step; trained on "
            f"{self.train_split}, {behind}, fully connected layers {fc}",
        )


def _crop_logits(model, images):
    """Maps [B, crops, S, S, 3] uint8 to [B, crops, C]."""
    crops = tf.reshape(images, [-1, *images.shape[2:]])
    logits = model(model.backbone.normalize(crops), training=False)["logits"]
    return tf.reshape(logits, [-1, images.shape[1], logits.shape[-1]])


def _start(layer):
    layer.kernel.assign(keras.initializers.RandomNormal(stddev=_FC_DEVIATION)(layer.kernel.shape))
    layer.bias.assign(np.full(layer.bias.shape, _FC_BIAS))

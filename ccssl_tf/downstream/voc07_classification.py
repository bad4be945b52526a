"""VOC 2007 classification (paper Table 3; Kraehenbuehl et al. 2016): fine-tuning for 20 yes-or-no
questions, mean average precision.

The published program (experiments/PROTOCOLS.md, "VOC classification"): the sigmoid cross-entropies
of the classes are summed, those of an image's difficult-only classes ignored; crops have a random
scale; an image's scores are summed over ten random crops; average precision is scikit-learn's area
of that time (trapezoid), with every positive's score lowered by 1e-5 against ties that would favour
the method. Beside it: one crop, today's step area, and the devkit's 11 points. How crops of a
random scale were cut could not be verified: see `image_ops.random_scale_crop`.
"""

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import distribution, network_flags, stage_flags
from ccssl_tf.data import image_ops, pipeline, records, voc_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.metrics import average_precision
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.pictures.ranking import draw_rankings
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.task import Task

_FREEZE = flags.DEFINE_enum(
    "freeze",
    "all",
    ["all", "fc678", "fc8"],
    "What is TRAINED, in the protocol's words: all layers, fc6 to fc8, or the classifier alone.",
)
_KEEP_FC = flags.DEFINE_bool(
    "keep_fc", False, "Start fc6 and fc7 from --init_backbone, too; in the paper they start random."
)
_RANDOM_CROPS = flags.DEFINE_integer(
    "random_crops",
    10,
    "Random crops an image's scores are summed over (10 in the protocol).",
    lower_bound=1,
)
_SCALES = flags.DEFINE_list(
    "crop_scales",
    ["0.5", "2"],
    "Least and greatest random scale of the photo (0.5,2 in the protocol).",
)

# Means of the classes' average precision: key, what is computed of which scores.
_DEFINITIONS = dict(trapezoid="", step="_step", **{"11point": "_11point"})
_AGAINST_TIES = 1e-5
_FC_DEVIATION, _FC_BIAS = 0.01, 0.1


class Voc07Classification(Task):
    """Which of the classes are in the photo: one sigmoid each."""

    with_fc = True
    saves_classifier = True

    def __init__(
        self,
        *,
        data_dir,
        image_size,
        freeze,
        train_split,
        eval_split,
        random_crops,
        crop_scales,
        keep_fc=False,
        eval_batch_size=16,
    ):
        """Checks that the images say which classes are in them.

        Args:
          data_dir: image shards with `image/class/presence`.
          image_size: S, pixels.
          freeze: what is trained: "all", "fc678" (what is behind pool5) or "fc8" (the classifier).
          train_split, eval_split: trainval and test in the protocol.
          random_crops: crops an image's scores are summed over.
          crop_scales: least and greatest.
          keep_fc: whether fc6 and fc7 start from the backbone's.
          eval_batch_size: images; each comes in `random_crops` crops.

        Raises:
          InputError: no such split, no presence of classes, or of another number of classes than
            the data set names.
        """
        self.data_dir, self.image_size, self.eval_batch_size = data_dir, image_size, eval_batch_size
        self.freeze, self.keep_fc, self.random_crops, self.crop_scales = (
            freeze,
            keep_fc,
            random_crops,
            crop_scales,
        )
        self.train_split, self.eval_split = train_split, eval_split
        if not 0 < crop_scales[0] <= crop_scales[1]:
            raise FlagError(
                f"--crop_scales={crop_scales[0]:g},{crop_scales[1]:g}: must be above 0, the least "
                "first"
            )
        self._manifest = Manifest.read(data_dir, "images")
        self.class_names = _checked_classes(data_dir, self._manifest, (train_split, eval_split))
        self._ranking, self._facts = None, {}

    @classmethod
    def from_flags(cls):
        """Reads this module's flags and those of data, splits and image size."""
        try:
            least, greatest = (float(scale) for scale in _SCALES.value)
        except ValueError as error:
            raise FlagError(
                f"--crop_scales={','.join(_SCALES.value)}: expected two numbers, e.g. 0.5,2"
            ) from error
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            image_size=network_flags.IMAGE_SIZE.value,
            freeze=_FREEZE.value,
            train_split=stage_flags.TRAIN_SPLIT.value or "trainval",
            eval_split=stage_flags.EVAL_SPLIT.value or "test",
            random_crops=_RANDOM_CROPS.value,
            crop_scales=(least, greatest),
            keep_fc=_KEEP_FC.value,
        )

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """Batches of `presence` [B, C] int64 and `image` [B, S, S, 3] uint8, one random crop; in
        evaluation [B, crops, S, S, 3].
        """

        def crop(parsed, seed):
            return image_ops.random_scale_crop(
                parsed["encoded"], self.image_size, *self.crop_scales, seed
            )

        def load(parsed):
            presence = self._presence(split, parsed)
            if training:
                return dict(image=crop(parsed, parsed["seed"]), presence=presence)
            seeds = [parsed["seed"] - [number, 0] for number in range(self.random_crops)]
            return dict(image=tf.stack([crop(parsed, seed) for seed in seeds]), presence=presence)

        options = dict(
            batch_size=batch_size, training=training, epoch_seed=epoch_seed, first_batch=first_batch
        )
        return pipeline.batches(
            self.data_dir, split, load=load, parse=voc_records.parse_voc_image, **options
        )

    def _presence(self, split, parsed):
        presence, count = parsed["presence"], len(self.class_names)
        where, message = (
            f"{self.data_dir}: split {split}",
            f"tells of {{}} classes instead of {count}; convert it again",
        )
        presence = records.required(
            presence, tf.size(presence) == count, where, parsed, message, tf.size(presence)
        )
        states, message = (
            tf.abs(presence),
            "has class states {}, which must be 1, 0 or -1; convert it again",
        )
        return tf.ensure_shape(
            records.required(
                presence, tf.reduce_all(states <= 1), where, parsed, message, presence
            ),
            [count],
        )

    def build_model(self, backbone):
        """A classifier; fully connected layers as the protocol starts them, unless they are kept or
        were rescaled on the data.
        """
        start_again = not (self.keep_fc or "rescaled" in (backbone.weights_from or {}))
        for layer in backbone.layers:
            if start_again and isinstance(layer, keras.layers.Dense):
                _start(layer)
            layer.trainable = self.freeze == "all" or (
                self.freeze == "fc678" and isinstance(layer, keras.layers.Dense)
            )
        model = build_classifier(backbone, len(self.class_names), self.image_size)
        _start(model.get_layer("logits"))
        return model

    def loss(self, model, batch, training):
        """Sum over the classes of the sigmoid cross-entropy, what is only there as difficult
        objects left out.
        """
        images = batch["image"]
        if images.shape.rank == 5:
            logits = self._crop_logits(model, images)[:, 0]
        else:
            with per_example_seeds(batch["seed"]):
                logits = model(model.backbone.normalize(images), training=training)["logits"]
        return presence_loss(logits, batch["presence"]), {}

    def _crop_logits(self, model, images):
        """Maps [B, crops, S, S, 3] uint8 to [B, crops, C]."""
        crops = tf.reshape(images, [-1, *images.shape[2:]])
        logits = model(model.backbone.normalize(crops), training=False)["logits"]
        return tf.reshape(logits, [-1, images.shape[1], logits.shape[-1]])

    def evaluate(self, model):
        """Mean average precision of the sums over the crops and of one crop, by every definition,
        and the classes' own.
        """
        summed, single, presence = self._scores(model)
        self._ranking = summed, presence
        positive, ignored = presence > 0, presence == 0
        found = [number for number in range(len(self.class_names)) if positive[:, number].any()]
        if not found:
            raise InputError(
                f"{self.data_dir}: split {self.eval_split} shows none of the "
                f"{len(self.class_names)} classes"
            )
        result = {}
        for scores, crops in ((summed, ""), (single, "_one_crop")):
            for interpolation, suffix in _DEFINITIONS.items():
                precisions = {
                    number: average_precision(
                        scores[:, number] - _AGAINST_TIES * positive[:, number],
                        positive[:, number],
                        ignored[:, number],
                        interpolation,
                    )
                    for number in found
                }
                result[f"mean_average_precision{suffix}{crops}"] = float(
                    np.mean(list(precisions.values()))
                )
                if not suffix and not crops:
                    of_classes = {
                        f"average_precision/{self.class_names[number]}": value
                        for number, value in precisions.items()
                    }
        shares = positive[:, found].sum(0) / np.maximum((~ignored[:, found]).sum(0), 1)
        self._facts = dict(
            chance=float(shares.mean()),
            classes_not_shown=[n for i, n in enumerate(self.class_names) if i not in found],
        )
        return result | of_classes

    def _scores(self, model):
        """Returns the scores of every image of the held-out split, summed over crops and of the
        first alone, and presence: [N, C] each.
        """
        strategy = tf.distribute.get_strategy()

        def on_replica(batch):
            logits = self._crop_logits(model, batch["image"])
            return dict(
                summed=tf.reduce_sum(logits, 1),
                single=logits[:, 0],
                **{k: batch[k] for k in ("presence", "index", "weight")},
            )

        run = tf.function(lambda batch: strategy.run(on_replica, args=(batch,)), autograph=False)
        shape = self._manifest.num_examples(self.eval_split), len(self.class_names)
        rows = {name: np.zeros(shape, np.float64) for name in ("summed", "single", "presence")}
        data = self.dataset(
            self.eval_split, self.eval_batch_size, training=False, epoch_seed=(0, 0)
        )
        for batch in distribution.deal_batches(data, strategy):
            parts = {
                name: strategy.experimental_local_results(value)
                for name, value in run(batch).items()
            }
            for replica, weight in enumerate(parts["weight"]):
                real = weight.numpy() > 0
                index = parts["index"][replica].numpy()[real]
                for name, values in rows.items():
                    values[index] = parts[name][replica].numpy()[real]
        return [distribution.sum_over_workers(values, strategy) for values in rows.values()]

    def pictures(self, model):
        """`ranking`: the photos each class is surest of."""
        if self._ranking is None:
            return {}
        return dict(
            ranking=draw_rankings(self.data_dir, self.eval_split, self.class_names, *self._ranking)
        )

    def facts(self):
        """What was trained, and how the numbers are computed; chance is the mean share of
        positives.
        """
        behind = dict(
            all="all layers trained",
            fc678="layers behind pool5 trained",
            fc8="the classifier alone trained",
        )[self.freeze]
        fc = "as in --init_backbone" if self.keep_fc else "random at first"
        return dict(
            dict(chance=None),
            **self._facts,
            num_classes=len(self.class_names),
            freeze=self.freeze,
            random_crops=self.random_crops,
            splits=dict(train=self.train_split, evaluation=self.eval_split),
            definition=f"mean over classes of average precision on {self.eval_split}, scores "
            f"summed over {self.random_crops} random crops, "
            "trapezoid area (step area, 11 points and one crop beside it), difficult ignored, "
            "after the last step; trained on "
            f"{self.train_split}, {behind}, fully connected layers {fc}",
        )


def presence_loss(logits, presence):
    """Returns the sum over classes of the sigmoid cross-entropy, [B] float32.

    Args:
      logits: [B, C] float32.
      presence: [B, C] int, 1 there, -1 not, 0 ignored.
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(presence > 0, tf.float32), logits=logits
    )
    return tf.reduce_sum(tf.where(presence == 0, 0.0, losses), axis=1)


def _start(layer):
    layer.kernel.assign(keras.initializers.RandomNormal(stddev=_FC_DEVIATION)(layer.kernel.shape))
    layer.bias.assign(np.full(layer.bias.shape, _FC_BIAS))


def _checked_classes(data_dir, manifest, splits):
    names = manifest.info.get("class_names") or []
    for split in splits:
        if split not in manifest.splits:
            raise InputError(f"{data_dir}: no split {split}, but {', '.join(manifest.splits)}")
        path = next((shard.name for shard in manifest.shards(split) if shard.num_examples), None)
        if path is None:
            raise InputError(f"{data_dir}: split {split} is empty")
        presence = voc_records.parse_voc_image(next(records.read_shard(f"{data_dir}/{path}")))[
            "presence"
        ]
        if not len(presence):
            raise InputError(
                f"{data_dir}: split {split} does not say which classes are in a photo; convert it "
                "with python -m data_prep.voc"
            )
        if len(presence) != len(names):
            raise InputError(
                f"{data_dir}: split {split} tells of {len(presence)} classes, the data set names "
                f"{len(names)}; convert it again"
            )
    return names

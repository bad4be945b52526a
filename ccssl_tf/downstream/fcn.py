"""Segmentation of VOC 2012 by a fully convolutional network (paper Table 3; Long et al. 2015;
experiments/PROTOCOLS.md, "Segmentation (FCN)").
"""

import dataclasses
import pathlib

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.data import image_ops, masks, pipeline, voc_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.downstream.kept_layers import KeptLayersSettings, start_in_words
from ccssl_tf.downstream.segmentation_scores import (
    class_map,
    continued_logits,
    own_size_scores,
    pixel_losses,
)
from ccssl_tf.metrics.segmentation import VOID, ConfusionMatrix
from ccssl_tf.models.backbone import FullyConnectedSettings
from ccssl_tf.models.fcn import FILE_NAME, build_fcn, copy_segmenter
from ccssl_tf.pictures import segmentation as segmentation_picture
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.files import write_bytes
from ccssl_tf.runs.settings import WorkdirSettings, setting
from ccssl_tf.task import Epoch, Result, Task, TaskSettings

_PICTURES = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class FCNSettings(TaskSettings, FullyConnectedSettings, KeptLayersSettings, WorkdirSettings):
    """--task=fcn."""

    fcn_stride: int = setting(
        0,
        "Pixels from one score to the next: 32, or 16 or 8 with finer maps added (VGG16); 0: that "
        "of the last map.",
        minimum=0,
        maximum=32,
    )
    fcn_long_side: int = setting(
        0,
        "Size that the longer side of images is resized to, in training and before scoring; 0: "
        "they keep their size.",
        unit="pixels",
        minimum=0,
        maximum=4096,
        paper=0,
    )
    fcn_mirror: bool = setting(False, "Mirror training images half the time (not in the paper).")
    init_segmenter: str | None = setting(
        None,
        "Workdir of an fcn run whose layers this one starts from, as FCN-16s from FCN-32s; those "
        "of --init_backbone are then replaced.",
    )
    eval_list: str | None = setting(
        None,
        "File of image ids, one a line: those of the split val to evaluate on, such as "
        "seg11valid.txt; none: all.",
    )
    eval_batch_size: int = setting(
        1, "Images are scored one at a time, as they differ in size.", minimum=1, maximum=1
    )

    def check(self):
        """A stride that there is."""
        super().check()
        if self.fcn_stride not in (0, 32, 16, 8):
            raise FlagError(
                f"--fcn_stride={self.fcn_stride}: must be 32, 16 or 8, or 0 for that of the last "
                "map"
            )


class FCN(Task):
    """Finds the class of every pixel; mean intersection over union at the images' full size.

    Attributes:
      class_names: [C], background first.

    >>> from ccssl_tf import FCN
    >>> task = FCN(data_dir=mask_dir)
    >>> task.eval_split
    'val'
    """

    Settings = FCNSettings

    eval_split = "val"
    is_evaluation = True
    model_file = FILE_NAME

    def __init__(self, settings: FCNSettings | None = None, **fields):
        """Takes the settings or their fields; splits are train and val.

        Raises:
          InputError: no such split, no masks, other classes in them, or a list of other images.
        """
        super().__init__(settings, **fields)
        self.with_fc = self.keep_fc = self.settings.keep_fc
        data_dir, eval_list = self.settings.data_dir, self.settings.eval_list
        self.class_names = masks.mask_classes(data_dir, ("train", self.eval_split))
        self._listed = None
        self._num_evaluated = Manifest.read(data_dir, "images").num_examples(self.eval_split)
        if eval_list:
            listed = masks.listed_indices(data_dir, self.eval_split, eval_list)
            self._listed, self._num_evaluated = tf.constant(listed), len(listed)
        if self.settings.workdir:
            self._image_ids = masks.image_ids(data_dir, self.eval_split)

    def build_model(self, backbone):
        """The segmenter over `backbone`, with the layers of --init_segmenter if there is one."""
        settings = self.settings
        model = build_fcn(
            backbone,
            len(self.class_names),
            fc_units=settings.fc_units,
            dropout_rate=settings.dropout_rate,
            stride=settings.fcn_stride,
        )
        if settings.init_segmenter:
            copy_segmenter(settings.init_segmenter, model)
        return model

    def dataset(self, split, epoch, model=None):
        """Batches of `image` [B, H, W, 3] uint8, `mask` [B, H', W'] uint8, always of full size in
        evaluation.

        Both are continued to the size of the largest of the batch, masks by void; `size` and
        `mask_size` [B, 2] are the sizes of each.
        """
        data_dir, long_side = self.settings.data_dir, self.settings.fcn_long_side

        def load(parsed):
            image = image_ops.decoded(parsed["encoded"])
            image = image_ops.resized_long_side(image, long_side) if long_side else image
            mask = masks.decoded_mask(parsed, data_dir, split, len(self.class_names))
            size = tf.shape(image)[:2]
            if epoch.training:
                if long_side:
                    mask = tf.image.resize(mask[..., None], size, method="nearest")[..., 0]
                if self.settings.fcn_mirror:
                    mirrored = tf.random.stateless_uniform([], parsed["seed"]) < 0.5
                    image, mask = tf.cond(
                        mirrored, lambda: (image[:, ::-1], mask[:, ::-1]), lambda: (image, mask)
                    )
            return dict(image=image, mask=mask, size=size, mask_size=tf.shape(mask))

        parse = voc_records.parse_voc_image
        return pipeline.batches(
            data_dir, split, epoch, load=load, parse=parse, padding=dict(mask=VOID)
        )

    def loss(self, model, batch, training):
        """Mean cross-entropy over the pixels of each image that are not void, and `pixel_accuracy`.

        Every image is taken at its own size, so that it does not matter which others are in its
        batch. Batch normalisation wants them together: in training such networks see the images of
        a batch continued by zeros to the largest one's size.
        """
        if training and any(
            isinstance(layer, keras.layers.BatchNormalization) for layer in model.backbone.layers
        ):
            return pixel_losses(continued_logits(model, batch), batch["mask"])
        results = []
        for number in range(batch["image"].shape[0]):
            one = {name: value[number : number + 1] for name, value in batch.items()}
            results.append(pixel_losses(*own_size_scores(model, one, training)))
        losses, metrics = zip(*results, strict=True)
        return tf.concat(losses, 0), {
            name: tf.concat([one[name] for one in metrics], 0) for name in metrics[0]
        }

    def evaluate(self, model):
        """Mean IoU, pixel and mean accuracy over all pixels of the split, and the mean of the
        images' losses; writes the class maps below the work directory.
        """
        strategy = tf.distribute.get_strategy()

        @tf.function(autograph=False, reduce_retracing=True)
        def score(batch):
            return strategy.run(lambda batch: _scores_of_batch(model, batch), args=(batch,))

        confusion, loss = ConfusionMatrix(len(self.class_names)), 0.0
        for batch in distribution.deal_batches(self._evaluation_dataset(), strategy):
            scored = score(batch)
            of_replicas = zip(
                *(strategy.experimental_local_results(scored[name]) for name in scored), strict=True
            )
            for values in of_replicas:
                one = {name: value.numpy() for name, value in zip(scored, values, strict=True)}
                if not one["weight"][0]:
                    continue
                confusion.update(one["mask"][0], one["classes"][0])
                loss += float(one["loss"][0])
                self._write(int(one["index"][0]), one["classes"][0])
        confusion.counts = distribution.sum_over_workers(confusion.counts, strategy)
        loss = float(distribution.sum_over_workers(np.array([loss]), strategy)[0])
        metrics = dict(confusion.results(), loss=loss / self._num_evaluated)
        facts = dict(
            chance=_background_everywhere(confusion),
            iou=_by_name(self.class_names, confusion.iou()),
        )
        return Result(metrics, facts)

    def _write(self, index, classes):
        """Writes the class map of an image as <id>.png, below the work directory if there is
        one.
        """
        if self.settings.workdir:
            path = pathlib.Path(self.settings.workdir) / f"predictions/{self._image_ids[index]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, segmentation_picture.encode_class_map(classes))

    def _evaluation_dataset(self):
        images = self.dataset(self.eval_split, Epoch(1, training=False))
        if self._listed is None:
            return images
        images = images.filter(lambda batch: tf.reduce_any(batch["index"][0] == self._listed))
        return images.apply(tf.data.experimental.assert_cardinality(self._num_evaluated))

    def pictures(self, model, result=None):
        """`segmentation`: photos, their true classes and the model's, side by side."""
        rows = []
        for batch in self._evaluation_dataset().take(_PICTURES):
            logits, mask = own_size_scores(model, batch, training=False)
            photo = tf.saturate_cast(tf.image.resize(batch["image"], tf.shape(mask)[1:]), tf.uint8)
            rows.append((photo[0].numpy(), mask[0].numpy(), class_map(logits)[0].numpy()))
        return dict(segmentation=segmentation_picture.draw_rows(rows, self.class_names))

    def inputs(self):
        """The segmenter it starts from and the list of images."""
        settings = self.settings
        return dict(init_segmenter=settings.init_segmenter, eval_list=settings.eval_list)

    def facts(self, model, result=None):
        """How the numbers are computed, and, after an evaluation, the classes' and what answering
        background everywhere scores.
        """
        eval_list, long_side = self.settings.eval_list, self.settings.fcn_long_side
        which = (
            f"the {self._num_evaluated} images of {pathlib.Path(eval_list).name}"
            if eval_list
            else f"split {self.eval_split}"
        )
        shown = (
            f"images resized to {long_side} pixels, scores to full size"
            if long_side
            else "full-size images"
        )
        return dict(
            num_classes=len(self.class_names),
            class_names=self.class_names,
            **(result.facts if result else dict(chance=None, iou=None)),
            definition=f"mean over the {len(self.class_names)} classes, background included, that "
            "occur, of intersection over union of all "
            f"pixels but void (255) of {which}, {shown}, one scale, after the last step; fully "
            f"connected layers {start_in_words(self.keep_fc)}; chance: background everywhere",
        )


def _scores_of_batch(model, batch):
    logits, mask = own_size_scores(model, batch, training=False)
    losses, _ = pixel_losses(logits, mask)
    return dict(
        mask=mask,
        index=batch["index"],
        weight=batch["weight"],
        classes=class_map(logits),
        loss=losses,
    )


def _background_everywhere(confusion):
    """The numbers of one who answers background everywhere."""
    truth = confusion.counts.sum(1)
    blank = ConfusionMatrix(len(truth))
    blank.counts[:, 0] = truth
    return blank.results()


def _by_name(names, values):
    """NaN, which JSON has not, becomes None."""
    return {
        name: float(value) if np.isfinite(value) else None
        for name, value in zip(names, values, strict=True)
    }

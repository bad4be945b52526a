"""Segmentation of VOC 2012 by a fully convolutional network (paper Table 3; Long et al. 2015;
experiments/PROTOCOLS.md, "Segmentation (FCN)").
"""

import pathlib

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import distribution, stage_flags
from ccssl_tf.data import image_ops, masks, pipeline, voc_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.metrics.segmentation import VOID, ConfusionMatrix
from ccssl_tf.models import backbone as backbone_lib
from ccssl_tf.models.fcn import FILE_NAME, build_fcn, copy_segmenter
from ccssl_tf.pictures import segmentation as segmentation_picture
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.files import write_bytes
from ccssl_tf.task import Task

_STRIDE = flags.DEFINE_integer(
    "fcn_stride",
    0,
    "Pixels from one score to the next: 32, or 16 or 8 with finer maps added (VGG16); 0: that of "
    "the last map.",
    lower_bound=0,
)
_LONG_SIDE = flags.DEFINE_integer(
    "fcn_long_side",
    0,
    "Pixels the longer side of images is resized to, in training and before scoring; 0: full size "
    "(in the paper).",
    lower_bound=0,
)
_MIRROR = flags.DEFINE_bool(
    "fcn_mirror", False, "Mirror training images half the time (not in the paper)."
)
_INIT_SEGMENTER = flags.DEFINE_string(
    "init_segmenter",
    None,
    "Workdir of an fcn run whose layers this one starts from, as FCN-16s from FCN-32s; those of "
    "--init_backbone are then replaced.",
)
_EVAL_LIST = flags.DEFINE_string(
    "eval_list",
    None,
    "File of image ids, one a line: those of the split val to evaluate on, such as seg11valid.txt; "
    "none: all.",
)

_PICTURES = 6


class FCN(Task):
    """A class for every pixel; mean intersection over union on the split val, at the images' full
    size.
    """

    eval_split = "val"
    eval_batch_size = 1
    model_file = FILE_NAME

    def __init__(
        self,
        *,
        data_dir,
        fc_units,
        dropout_rate: float,
        stride: int = 0,
        long_side: int = 0,
        mirror: bool = False,
        init_segmenter=None,
        eval_list=None,
        predictions_dir=None,
    ):
        """Checks that the images have masks.

        Args:
          data_dir: image shards with masks, splits train and val.
          fc_units: sizes of fc6 and fc7, which start random.
          dropout_rate: after each.
          stride: pixels; 32, 16, 8, or 0 for that of the last map.
          long_side: pixels images are resized to for the network; 0 for their own size. They are
            evaluated at their own size always.
          mirror: mirror training images half the time.
          init_segmenter: workdir or file of a segmenter to start from.
          eval_list: file of the ids to evaluate on.
          predictions_dir: where evaluation writes its class maps, <id>.png; None for nowhere.

        Raises:
          InputError: no such split, no masks, other classes in them, or a list of other images.
        """
        self.data_dir, self.long_side, self.mirror = data_dir, long_side, mirror
        self.fc_units, self.dropout_rate, self.stride = fc_units, dropout_rate, stride
        self.init_segmenter, self.eval_list = init_segmenter, eval_list
        self.predictions_dir = pathlib.Path(predictions_dir) if predictions_dir else None
        self.class_names = masks.mask_classes(data_dir, ("train", self.eval_split))
        listed = masks.listed_indices(data_dir, self.eval_split, eval_list) if eval_list else None
        self._num_evaluated = (
            Manifest.read(data_dir, "images").num_examples(self.eval_split)
            if listed is None
            else len(listed)
        )
        self._listed = None if listed is None else tf.constant(listed)
        self._image_ids = masks.image_ids(data_dir, self.eval_split) if predictions_dir else None
        self._scored_model = self._confusion = None

    @classmethod
    def from_flags(cls):
        """Reads this module's flags and those of data and fully connected layers."""
        if _STRIDE.value not in (0, 32, 16, 8):
            raise FlagError(
                f"--fcn_stride={_STRIDE.value}: must be 32, 16 or 8, or 0 for that of the last map"
            )
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            fc_units=backbone_lib.fc_units_from_flags(),
            dropout_rate=backbone_lib.DROPOUT_RATE.value,
            stride=_STRIDE.value,
            long_side=_LONG_SIDE.value,
            mirror=_MIRROR.value,
            init_segmenter=_INIT_SEGMENTER.value,
            eval_list=_EVAL_LIST.value,
            predictions_dir=pathlib.Path(stage_flags.WORKDIR.value) / "predictions"
            if stage_flags.WORKDIR.value
            else None,
        )

    def build_model(self, backbone):
        """The segmenter over `backbone`, with the layers of --init_segmenter if there is one."""
        model = build_fcn(
            backbone,
            len(self.class_names),
            fc_units=self.fc_units,
            dropout_rate=self.dropout_rate,
            stride=self.stride,
        )
        if self.init_segmenter:
            copy_segmenter(self.init_segmenter, model)
        return model

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """Batches of `image` [B, H, W, 3] uint8, `mask` [B, H', W'] uint8, always of full size in
        evaluation.

        Both are continued to the size of the largest of the batch, masks by void; `size` and
        `mask_size` [B, 2] are their own sizes.
        """

        def load(parsed):
            image = image_ops.decoded(parsed["encoded"])
            image = image_ops.resized_long_side(image, self.long_side) if self.long_side else image
            mask = masks.decoded_mask(parsed, self.data_dir, split, len(self.class_names))
            size = tf.shape(image)[:2]
            if training:
                mask = (
                    tf.squeeze(tf.image.resize(mask[..., None], size, method="nearest"), -1)
                    if self.long_side
                    else mask
                )
                if self.mirror:
                    mirrored = tf.random.stateless_uniform([], parsed["seed"]) < 0.5
                    image, mask = tf.cond(
                        mirrored, lambda: (image[:, ::-1], mask[:, ::-1]), lambda: (image, mask)
                    )
            return dict(image=image, mask=mask, size=size, mask_size=tf.shape(mask))

        options = dict(
            training=training,
            epoch_seed=epoch_seed,
            first_batch=first_batch,
            padding=dict(mask=VOID),
        )
        return pipeline.batches(
            self.data_dir,
            split,
            batch_size=batch_size,
            load=load,
            parse=voc_records.parse_voc_image,
            **options,
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
            return pixel_losses(_continued_logits(model, batch), batch["mask"])
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
        images' losses; writes the class maps.
        """
        strategy = tf.distribute.get_strategy()
        if self._scored_model is not model:
            self._scored_model = model
            self._score = tf.function(
                lambda batch: strategy.run(self._scores_of_batch, args=(batch,)),
                autograph=False,
                reduce_retracing=True,
            )
        confusion, loss = ConfusionMatrix(len(self.class_names)), 0.0
        if self.predictions_dir:
            self.predictions_dir.mkdir(parents=True, exist_ok=True)
        for batch in distribution.deal_batches(self._evaluation_dataset(), strategy):
            scored = self._score(batch)
            of_replicas = zip(
                *(strategy.experimental_local_results(scored[name]) for name in scored), strict=True
            )
            for one in of_replicas:
                one = {name: value.numpy() for name, value in zip(scored, one, strict=True)}
                if not one["weight"][0]:
                    continue
                confusion.update(one["mask"][0], one["classes"][0])
                loss += float(one["loss"][0])
                if self.predictions_dir:
                    name = self._image_ids[int(one["index"][0])]
                    write_bytes(
                        self.predictions_dir / f"{name}.png",
                        segmentation_picture.encode_class_map(one["classes"][0]),
                    )
        confusion.counts = distribution.sum_over_workers(confusion.counts, strategy)
        loss = float(distribution.sum_over_workers(np.array([loss]), strategy)[0])
        self._confusion = confusion
        return dict(confusion.results(), loss=loss / self._num_evaluated)

    def _evaluation_dataset(self):
        images = self.dataset(self.eval_split, 1, training=False, epoch_seed=(0, 0))
        if self._listed is None:
            return images
        images = images.filter(lambda batch: tf.reduce_any(batch["index"][0] == self._listed))
        return images.apply(tf.data.experimental.assert_cardinality(self._num_evaluated))

    def _scores_of_batch(self, batch):
        logits, mask = own_size_scores(self._scored_model, batch, training=False)
        losses, _ = pixel_losses(logits, mask)
        return dict(
            mask=mask,
            index=batch["index"],
            weight=batch["weight"],
            classes=class_map(logits),
            loss=losses,
        )

    def pictures(self, model):
        """`segmentation`: photos, their true classes and the model's, side by side."""
        rows = []
        for batch in self._evaluation_dataset().take(_PICTURES):
            logits, mask = own_size_scores(model, batch, training=False)
            photo = tf.saturate_cast(tf.image.resize(batch["image"], tf.shape(mask)[1:]), tf.uint8)
            rows.append((photo[0].numpy(), mask[0].numpy(), class_map(logits)[0].numpy()))
        return dict(segmentation=segmentation_picture.draw_rows(rows, self.class_names))

    def inputs(self):
        """The segmenter it starts from and the list of images."""
        return dict(init_segmenter=self.init_segmenter, eval_list=self.eval_list)

    def facts(self):
        """How the numbers are computed, and what answering background everywhere scores."""
        which = (
            f"the {self._num_evaluated} images of {pathlib.Path(self.eval_list).name}"
            if self.eval_list
            else f"split {self.eval_split}"
        )
        shown = (
            f"images resized to {self.long_side} pixels, scores to full size"
            if self.long_side
            else "full-size images"
        )
        return dict(
            num_classes=len(self.class_names),
            chance=self._background_everywhere(),
            iou=None
            if self._confusion is None
            else _by_name(self.class_names, self._confusion.iou()),
            definition=f"mean over the {len(self.class_names)} classes, background included, that "
            "occur, of intersection over union of all "
            f"pixels but void (255) of {which}, {shown}, one scale, after the last step; chance: "
            "background everywhere",
        )

    def _background_everywhere(self):
        if self._confusion is None:
            return None
        truth = self._confusion.counts.sum(1)
        blank = ConfusionMatrix(len(truth))
        blank.counts[:, 0] = truth
        return blank.results()


def own_size_scores(model, batch, training: bool):
    """Returns scores [1, h, w, C] and mask [1, h, w] of a batch of one image, without what
    continues them to their batch's size.

    Where image and mask are of two sizes, scores are interpolated bilinearly to the mask's.
    """
    (height, width), (mask_height, mask_width) = (
        tf.unstack(batch[name][0]) for name in ("size", "mask_size")
    )
    images, mask = batch["image"][:, :height, :width], batch["mask"][:, :mask_height, :mask_width]
    with per_example_seeds(batch["seed"]):
        logits = model(model.backbone.normalize(images), training=training)["logits"]
    return tf.image.resize(logits, tf.shape(mask)[1:]), mask


def _continued_logits(model, batch):
    """Scores in training of all images of a batch, [B, H, W, C]; what continues an image is 0, as
    in the network's own padding.
    """
    height, width = tf.shape(batch["image"])[1], tf.shape(batch["image"])[2]
    inside = (tf.range(height) < batch["size"][:, :1])[:, :, None] & (
        tf.range(width) < batch["size"][:, 1:]
    )[:, None]
    images = model.backbone.normalize(batch["image"]) * tf.cast(inside, tf.float32)[..., None]
    with per_example_seeds(batch["seed"]):
        return model(images, training=True)["logits"]


def pixel_losses(logits, mask):
    """Returns the mean cross-entropy and accuracy of each image's pixels that are not void; 0 for
    an image without any.

    Args:
      logits: [B, H, W, C] float32.
      mask: [B, H, W] uint8 in [0, C) or 255.

    Returns:
      ([B] float32, dict of `pixel_accuracy` [B] float32).
    """
    valid = tf.cast(mask != VOID, tf.float32)
    classes = tf.where(mask != VOID, tf.cast(mask, tf.int32), 0)
    count = tf.maximum(tf.reduce_sum(valid, [1, 2]), 1)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    right = tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), classes), tf.float32)
    return tf.reduce_sum(losses * valid, [1, 2]) / count, dict(
        pixel_accuracy=tf.reduce_sum(right * valid, [1, 2]) / count
    )


def class_map(logits):
    """Returns the class of the greatest score of every pixel, the first of equal ones: [B, H, W, C]
    -> [B, H, W] uint8.
    """
    return tf.cast(tf.argmax(logits, -1, tf.int32), tf.uint8)


def _by_name(names, values):
    """NaN, which JSON has not, becomes None."""
    return {
        name: float(value) if np.isfinite(value) else None
        for name, value in zip(names, values, strict=True)
    }

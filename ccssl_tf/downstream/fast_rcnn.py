"""VOC 2007 detection (paper Table 3): Fast R-CNN (Girshick 2015) fine-tuned from a backbone, mean
average precision on the test split.

As released (experiments/PROTOCOLS.md, "Detection (Fast R-CNN)"): two images a step, 64 regions of
each, a quarter of them foreground, mirrored half the time; box codes less their mean over their
deviation; cross-entropy plus smooth L1, summed over the regions and divided by their number (of 64
an image, where it has less, too); the first convolutions locked; at test at most 100 detections of
a class and image, suppressed at an overlap of 0.3. Difficult objects are trained on, as in the
released code, and do not count at test. Images of a batch are continued by zeros, after the mean is
subtracted, to the largest one's size.

Decided here: fully connected layers start random (paper, section 5), as wide as the backbone; batch
normalisation of a backbone that was trained before keeps its statistics; background has no box
codes (in Caffe it has, and nothing uses them).
"""

import pathlib

import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import distribution, stage_flags
from ccssl_tf.data import image_ops, pipeline
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.downstream import detections as detections_lib
from ccssl_tf.downstream.detection_images import code_statistics, read_detection_images
from ccssl_tf.downstream.detector import Detector
from ccssl_tf.downstream.region_sampling import (
    FOREGROUND_OVERLAP,
    NO_REGION,
    RegionTables,
    training_example,
)
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.models import backbone as backbone_lib
from ccssl_tf.models.fast_rcnn import FILE_NAME, build_fast_rcnn
from ccssl_tf.pictures.detection import draw_detections
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.progress import Progress
from ccssl_tf.task import Task

_PROPOSALS = flags.DEFINE_string(
    "proposals_dir",
    None,
    "Directory of object proposals, made by data_prep.proposals from --data_dir.",
)
_SCALES = flags.DEFINE_list(
    "detection_scales",
    ["600"],
    "Shorter sides of photos in training, pixels (480,576,688,864,1200 in the paper); several are "
    "tested together, too.",
)
_MOST = flags.DEFINE_integer(
    "detection_max_side",
    1000,
    "Most pixels of a longer side (2000 with the paper's scales).",
    lower_bound=1,
)
_TEST_SCALE = flags.DEFINE_integer(
    "detection_test_scale",
    600,
    "Shorter side of photos in single-scale testing, pixels.",
    lower_bound=1,
)
_TEST_MOST = flags.DEFINE_integer(
    "detection_test_max_side",
    1000,
    "Most pixels of a longer side in single-scale testing.",
    lower_bound=1,
)
_REGIONS = flags.DEFINE_integer(
    "regions_per_image", 64, "Regions of an image in a step (64 in Fast R-CNN).", lower_bound=1
)
_LOCKED = flags.DEFINE_integer(
    "locked_stages",
    None,
    "Stages of convolutions that are not trained; by default 1, and 2 of VGG16, as released.",
    lower_bound=0,
)
_MIRROR = flags.DEFINE_bool("detection_mirror", True, "Mirror training photos half the time.")

_SHOWN = 8


class FastRCNN(Task):
    """Where in the photo is which object?"""

    model_file = FILE_NAME

    def __init__(
        self,
        *,
        data_dir,
        proposals_dir,
        train_split,
        eval_split,
        scales,
        max_side,
        test_scale,
        test_max_side,
        fc_units,
        dropout_rate,
        regions_per_image=64,
        locked_stages=None,
        mirror=True,
        output_dir=None,
    ):
        """Reads objects and proposals of both splits.

        Args:
          data_dir: VOC records with boxes.
          proposals_dir: what data_prep.proposals made of them.
          train_split, eval_split: trainval and test in the protocol.
          scales, max_side: shorter sides of photos to draw from in training and to test together,
            and the most of a longer side; pixels.
          test_scale, test_max_side: the same in single-scale testing.
          fc_units: sizes of fc6 and fc7 at width multiplier 1.
          dropout_rate: after each.
          regions_per_image: drawn in training.
          locked_stages: see `build_fast_rcnn`.
          mirror: mirror training photos half the time.
          output_dir: where the devkit's files are written; None for nowhere.

        Raises:
          InputError: see `read_detection_images`.
        """
        self.data_dir, self.proposals_dir, self.output_dir = data_dir, proposals_dir, output_dir
        self.train_split, self.eval_split = train_split, eval_split
        self.fc_units, self.dropout_rate, self.locked_stages = fc_units, dropout_rate, locked_stages
        self.regions_per_image, self.mirror = regions_per_image, mirror
        self.scales, self.max_side = list(scales), max_side
        self.test_scale, self.test_max_side = test_scale, test_max_side
        self.class_names = Manifest.read(data_dir, "images").info.get("class_names") or []
        self._images = {
            split: read_detection_images(data_dir, split, proposals_dir)
            for split in (train_split, eval_split)
        }
        self._statistics = code_statistics(
            self._images[train_split], len(self.class_names), FOREGROUND_OVERLAP, mirror
        )
        self._examples, self._by_class, self._detector, self._shown = {}, {}, None, None

    @classmethod
    def from_flags(cls):
        """Reads this module's flags and those of data, splits and fully connected layers."""
        if not _PROPOSALS.value:
            raise FlagError(
                "--task=fast_rcnn needs --proposals_dir; make it with data_prep.proposals"
            )
        try:
            scales = [int(scale) for scale in _SCALES.value]
        except ValueError as error:
            raise FlagError(
                f"--detection_scales={','.join(_SCALES.value)}: expected whole numbers such as "
                "480,576,688"
            ) from error
        if min(scales, default=0) < 1:
            raise FlagError(
                f"--detection_scales={','.join(_SCALES.value)}: expected one or more sides of at "
                "least 1 pixel"
            )
        return cls(
            data_dir=stage_flags.DATA_DIR.value,
            proposals_dir=_PROPOSALS.value,
            train_split=stage_flags.TRAIN_SPLIT.value or "trainval",
            eval_split=stage_flags.EVAL_SPLIT.value or "test",
            scales=scales,
            max_side=_MOST.value,
            test_scale=_TEST_SCALE.value,
            test_max_side=_TEST_MOST.value,
            fc_units=backbone_lib.fc_units_from_flags(),
            dropout_rate=backbone_lib.DROPOUT_RATE.value,
            regions_per_image=_REGIONS.value,
            locked_stages=_LOCKED.value,
            mirror=_MIRROR.value,
            output_dir=pathlib.Path(stage_flags.WORKDIR.value) / "detections"
            if stage_flags.WORKDIR.value
            else None,
        )

    def build_model(self, backbone):
        """The detector over a copy of the backbone's convolutions."""
        means, deviations = self._statistics
        options = dict(
            fc_units=self.fc_units, dropout_rate=self.dropout_rate, locked_stages=self.locked_stages
        )
        return build_fast_rcnn(backbone, code_means=means, code_deviations=deviations, **options)

    def dataset(self, split, batch_size, training, epoch_seed, first_batch=0):
        """Batches of what `training_example` returns, S regions an image; images continued by zeros
        to the largest one's size.
        """
        example = self._example_of(split)

        def load(parsed):
            return example(parsed["encoded"], parsed["index"], parsed["seed"])

        options = dict(
            training=training, epoch_seed=epoch_seed, first_batch=first_batch, padding=dict(image=0)
        )
        return pipeline.batches(self.data_dir, split, batch_size=batch_size, load=load, **options)

    def _example_of(self, split):
        """The function of encoded photo, index and seed; traced once, as it takes a second and data
        sets are made anew every epoch.
        """
        if split not in self._examples:
            tables = RegionTables.of(self._images[split])
            settings = dict(
                scales=self.scales,
                most=self.max_side,
                num_regions=self.regions_per_image,
                mirror=self.mirror,
            )

            @tf.function(autograph=False)
            def example(encoded, index, seed):
                return training_example(
                    image_ops.decoded(encoded), *tables.of_image(index), seed, **settings
                )

            self._examples[split] = example
        return self._examples[split]

    def loss(self, model, batch, training):
        """Cross-entropy plus smooth L1 of the box codes, and both parts; `accuracy` over the
        regions, `foreground` among them.
        """
        images, rois = batch["image"], batch["rois"]
        count = rois.shape[1]
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        inside = (tf.range(height) < batch["size"][:, :1])[:, :, None] & (
            tf.range(width) < batch["size"][:, 1:]
        )[:, None]
        seen = model.backbone.normalize(images) * tf.cast(inside, tf.float32)[..., None]
        numbers = tf.repeat(tf.range(tf.shape(rois)[0], dtype=tf.float32), count)[:, None]
        with per_example_seeds(batch["seed"]):
            outputs = model(
                [seen, tf.concat([numbers, tf.reshape(rois, [-1, 4])], 1)], training=training
            )
        labels = batch["roi_labels"]
        logits = tf.reshape(outputs["logits"], [-1, count, outputs["logits"].shape[-1]])
        codes = tf.reshape(outputs["codes"], [-1, count, len(self.class_names), 4])
        class_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits)
        class_loss = tf.reduce_sum(tf.where(labels == NO_REGION, 0.0, class_losses), 1) / count
        # Of the region's own class; products with one-hot rows, whose gradient is summed in a fixed
        # order.
        own = tf.one_hot(labels - 1, len(self.class_names))
        deviations = tf.einsum("bsc,ck->bsk", own, tf.constant(self._statistics[1], tf.float32))
        differences = tf.einsum("bsc,bsck->bsk", own, codes) - batch["codes"]
        differences = tf.where(
            deviations > 0, differences / tf.where(deviations > 0, deviations, 1.0), 0.0
        )
        box_loss = tf.reduce_sum(_smooth_l1(differences), [1, 2]) / count
        right = tf.cast(tf.argmax(logits, -1, tf.int32) == labels, tf.float32)
        some = tf.maximum(tf.reduce_sum(tf.cast(labels != NO_REGION, tf.float32), 1), 1)
        foreground = tf.reduce_sum(tf.cast(labels > 0, tf.float32), 1) / some
        metrics = dict(
            class_loss=class_loss,
            box_loss=box_loss,
            accuracy=tf.reduce_sum(right, 1) / some,
            foreground=foreground,
        )
        return class_loss + box_loss, metrics

    def evaluate(self, model):
        """Mean average precision at a single scale, and at several together where training has
        them; writes the devkit's files.
        """
        schemes = {"": ([self.test_scale], self.test_max_side)}
        if len(self.scales) > 1:
            schemes["_multi_scale"] = (self.scales, self.max_side)
        record, images = {}, self._images[self.eval_split]
        for suffix, (scales, most) in schemes.items():
            found = self._detections(model, scales, most)
            self._shown = found
            if self.output_dir and distribution.is_chief():
                directory = pathlib.Path(f"{self.output_dir}{suffix}")
                detections_lib.write_devkit_files(
                    directory, found, images.names, self.class_names, self.eval_split
                )
            for kind, name in (("11point", ""), ("voc2010", "_area")):
                classes = detections_lib.average_precisions(
                    found, images, len(self.class_names), kind
                )
                record[f"mean_average_precision{name}{suffix}"] = (
                    float(np.mean(list(classes.values()))) if classes else 0.0
                )
                self._by_class[f"average_precision{name}{suffix}"] = {
                    self.class_names[number]: ap for number, ap in classes.items()
                }
        return record

    def _detections(self, model, scales, most):
        """The detections of the evaluation split; each worker looks at its share of the images."""
        if self._detector is None or self._detector.model is not model:
            self._detector = Detector(model)
        images, (worker, workers) = self._images[self.eval_split], distribution.worker()
        photos = pipeline.evaluation_batches(
            self.data_dir, self.eval_split, batch_size=1, load=_photo
        )
        found, candidates, progress = (
            [],
            [],
            Progress(f"detect at {','.join(map(str, scales))}", len(images), "images"),
        )
        for done, batch in enumerate(photos.shard(workers, worker), 1):
            index = int(batch["index"][0])
            scores, boxes = self._detector(
                batch["image"][0].numpy(), images.proposals[index], scales, most
            )
            own, before = detections_lib.detections_of_image(index, scores, boxes)
            found.append(own)
            candidates.append(before)
            progress.update(min(done * workers, len(images)))
        own, strategy = detections_lib.Detections.joined(found), tf.distribute.get_strategy()
        columns = [own.images, own.classes, own.scores, own.boxes]
        own = detections_lib.Detections(
            *(distribution.concatenate_over_workers(column, strategy) for column in columns)
        )
        before = np.concatenate(
            [*candidates, np.zeros([len(self.class_names), 0], np.float32)], axis=1
        ).T
        own = detections_lib.most_confident(
            own, distribution.concatenate_over_workers(before, strategy).T, len(images)
        )
        return own.of(np.argsort(own.images, kind="stable"))

    def pictures(self, model):
        """`detections`: photos of the evaluation split with their objects and the surest
        detections.
        """
        images, found = self._images[self.eval_split], self._shown
        photos = pipeline.evaluation_batches(
            self.data_dir, self.eval_split, batch_size=1, load=_photo
        ).take(min(_SHOWN, len(images)))
        panels = []
        for batch in photos:
            index = int(batch["index"][0])
            truths = images.truths[index], images.labels[index]
            panels.append((batch["image"][0].numpy(), *truths, found.of(found.images == index)))
        return dict(detections=draw_detections(panels, self.class_names))

    def inputs(self):
        """The proposals."""
        return dict(proposals_dir=self.proposals_dir)

    def facts(self):
        """How the number is computed."""
        source = Manifest.read(self.proposals_dir, "proposals").info
        several = (
            f"; multi_scale: shorter sides {','.join(map(str, self.scales))}"
            if len(self.scales) > 1
            else ""
        )
        counted = np.mean([len(boxes) for boxes in self._images[self.eval_split].proposals])
        return dict(
            self._by_class,
            chance=0.0,
            num_classes=len(self.class_names),
            class_names=self.class_names,
            proposals=dict(
                method=source.get("method"),
                mode=source.get("mode"),
                per_image=round(float(counted), 1),
            ),
            definition="mean over the classes with an object that is not difficult of VOC 2007's "
            "11-point average precision (area: under "
            f"VOC 2010's monotone envelope), overlap 0.5, split {self.eval_split}, after the last "
            f"step; photos of {self.test_scale} "
            f"pixels, at most {self.test_max_side}{several}",
        )


def _photo(parsed):
    return dict(image=image_ops.decoded(parsed["encoded"]))


def _smooth_l1(x):
    """Half the square below 1, else less a half (Girshick 2015, equation 3)."""
    size = tf.abs(x)
    return tf.where(size < 1, 0.5 * tf.square(x), size - 0.5)

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

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.data import image_ops, pipeline
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.downstream import detection_evaluation
from ccssl_tf.downstream.detection_images import code_statistics, read_detection_images
from ccssl_tf.downstream.detection_loss import region_losses
from ccssl_tf.downstream.detections import write_devkit_files
from ccssl_tf.downstream.detector import Detector
from ccssl_tf.downstream.kept_layers import KeptLayersSettings, start_in_words
from ccssl_tf.downstream.region_sampling import FOREGROUND_OVERLAP, RegionTables, training_example
from ccssl_tf.downstream.splits import SplitSettings
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.models.backbone import FullyConnectedSettings
from ccssl_tf.models.fast_rcnn import FILE_NAME, build_fast_rcnn, released_locked_stages
from ccssl_tf.pictures.detection import draw_detections
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.settings import WorkdirSettings, setting
from ccssl_tf.task import Result, Task, TaskSettings

_SHOWN = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class FastRCNNSettings(
    TaskSettings, SplitSettings, FullyConnectedSettings, KeptLayersSettings, WorkdirSettings
):
    """--task=fast_rcnn."""

    proposals_dir: str = setting(
        help="Directory of object proposals, made by data_prep.proposals from --data_dir."
    )
    detection_scales: tuple[int, ...] = setting(
        (600,),
        "Shorter sides of photos in training; several are tested together, too.",
        unit="pixels",
        minimum=1,
        maximum=4096,
        paper=(480, 576, 688, 864, 1200),
    )
    detection_max_side: int = setting(
        1000, "Largest longer side of photos.", unit="pixels", minimum=1, maximum=4096, paper=2000
    )
    detection_test_scale: int = setting(
        600,
        "Shorter side of photos in single-scale testing.",
        unit="pixels",
        minimum=1,
        maximum=4096,
        paper=600,
    )
    detection_test_max_side: int = setting(
        1000,
        "Largest longer side of photos in single-scale testing.",
        unit="pixels",
        minimum=1,
        maximum=4096,
        paper=1000,
    )
    regions_per_image: int = setting(
        64, "Regions of an image in a step.", minimum=1, maximum=100_000, paper=64
    )
    locked_stages: int | None = setting(
        None,
        "Stages of convolutions that are not trained.",
        minimum=0,
        maximum=100,
        automatic="1, and 2 of VGG16, as released",
    )
    detection_mirror: bool = setting(True, "Mirror training photos half the time.")
    eval_batch_size: int = setting(
        1, "Photos are looked at one at a time, as they differ in size.", minimum=1, maximum=1
    )

    def check(self):
        """There is a scale."""
        super().check()
        if not self.detection_scales:
            raise FlagError("--detection_scales=: give one or more sides in pixels")


class FastRCNN(Task):
    """Finds objects in photos, by regions proposed beforehand; mean average precision.

    Attributes:
      class_names: [C].

    >>> from ccssl_tf import FastRCNN
    >>> places = dict(data_dir=f"{objects_dir}/images", proposals_dir=f"{objects_dir}/proposals")
    >>> FastRCNN(**places, regions_per_image=8).class_names
    ['red', 'green', 'blue']
    """

    Settings = FastRCNNSettings

    is_evaluation = True
    model_file = FILE_NAME

    def __init__(self, settings: FastRCNNSettings | None = None, **fields):
        """Takes the settings or their fields, and reads objects and proposals of both splits.

        Raises:
          InputError: see `read_detection_images`.
        """
        super().__init__(settings, **fields)
        settings = self.settings
        self.with_fc = self.keep_fc = settings.keep_fc
        self.train_split, self.eval_split = settings.train_split, settings.eval_split
        info = Manifest.read(settings.data_dir, "images").info
        self.class_names = info.get("class_names") or []
        self._images = {
            split: read_detection_images(settings.data_dir, split, settings.proposals_dir)
            for split in (self.train_split, self.eval_split)
        }
        self._code_means, self._code_deviations = code_statistics(
            self._images[self.train_split],
            len(self.class_names),
            FOREGROUND_OVERLAP,
            settings.detection_mirror,
        )
        self._examples = {}

    def build_model(self, backbone):
        """The detector over a copy of the backbone's convolutions."""
        settings = self.settings
        return build_fast_rcnn(
            backbone,
            fc_units=settings.fc_units,
            dropout_rate=settings.dropout_rate,
            code_means=self._code_means,
            code_deviations=self._code_deviations,
            locked_stages=settings.locked_stages,
        )

    def resolved(self, backbone):
        """The settings with the stages that are locked on this backbone."""
        locked = self.settings.locked_stages
        if locked is None:
            locked = released_locked_stages(backbone)
        return (dataclasses.replace(self.settings, locked_stages=locked),)

    def dataset(self, split, epoch, model=None):
        """Batches of what `training_example` returns, S regions an image; images continued by zeros
        to the largest one's size.
        """
        example = self._example_of(split)

        def load(parsed):
            return example(parsed["encoded"], parsed["index"], parsed["seed"])

        data_dir = self.settings.data_dir
        return pipeline.batches(data_dir, split, epoch, load=load, padding=dict(image=0))

    def _example_of(self, split):
        """The function of encoded photo, index and seed; traced once, as it takes a second and data
        sets are made anew every epoch.
        """
        if split not in self._examples:
            tables, settings = RegionTables.of(self._images[split]), self.settings

            @tf.function(autograph=False)
            def example(encoded, index, seed):
                return training_example(
                    image_ops.decoded(encoded),
                    *tables.of_image(index),
                    seed,
                    scales=list(settings.detection_scales),
                    max_side=settings.detection_max_side,
                    num_regions=settings.regions_per_image,
                    mirror=settings.detection_mirror,
                )

            self._examples[split] = example
        return self._examples[split]

    def loss(self, model, batch, training):
        """Cross-entropy plus smooth L1 of the box codes, and both parts; `accuracy` over the
        regions, `foreground` among them.
        """
        images, rois = batch["image"], batch["rois"]
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        inside = (tf.range(height) < batch["size"][:, :1])[:, :, None] & (
            tf.range(width) < batch["size"][:, 1:]
        )[:, None]
        seen = model.backbone.normalize(images) * tf.cast(inside, tf.float32)[..., None]
        numbers = tf.range(tf.shape(rois)[0], dtype=tf.float32)
        numbers = tf.repeat(numbers, rois.shape[1])[:, None]
        with per_example_seeds(batch["seed"]):
            outputs = model(
                [seen, tf.concat([numbers, tf.reshape(rois, [-1, 4])], 1)], training=training
            )
        return region_losses(outputs, batch, self._code_deviations)

    def _schemes(self) -> dict[str, tuple[list[int], int]]:
        """What the names of numbers end with -> (shorter sides, largest longer side) of a test: at
        a single scale, and at several together where training has them.
        """
        settings = self.settings
        schemes = {"": ([settings.detection_test_scale], settings.detection_test_max_side)}
        if len(settings.detection_scales) > 1:
            several = list(settings.detection_scales), settings.detection_max_side
            schemes["_multi_scale"] = several
        return schemes

    def evaluate(self, model):
        """Mean average precision at a single scale, and at several together where training has
        them; writes the devkit's files below the work directory. `shown` are the last detections.
        """
        settings, detector, metrics, facts = self.settings, Detector(model), {}, {}
        images = self._images[self.eval_split]
        for suffix, (scales, max_side) in self._schemes().items():
            detections = detection_evaluation.detections_of_split(
                settings.data_dir,
                self.eval_split,
                detector,
                images,
                num_classes=len(self.class_names),
                scales=scales,
                max_side=max_side,
            )
            if settings.workdir and distribution.is_chief():
                directory = pathlib.Path(settings.workdir) / f"detections{suffix}"
                write_devkit_files(
                    directory, detections, images.names, self.class_names, self.eval_split
                )
            means, of_classes = detection_evaluation.precisions(
                detections, images, self.class_names, suffix
            )
            metrics |= means
            facts |= of_classes
        return Result(metrics, facts, shown=detections)

    def pictures(self, model, result=None):
        """`detections`: photos of the evaluation split with their objects and the surest
        detections; these are made here where no result has them.
        """
        images = self._images[self.eval_split]
        photos = detection_evaluation.whole_photos(self.settings.data_dir, self.eval_split)
        photos = photos.take(min(_SHOWN, len(images)))
        if result is None or result.shown is None:
            *_, scheme = self._schemes().values()
            detections, _ = detection_evaluation.detections_in(
                photos, Detector(model), images, *scheme
            )
        else:
            detections = result.shown
        panels = []
        for batch in photos:
            index = int(batch["index"][0])
            truths = images.truths[index], images.labels[index]
            in_photo = detections.of(detections.images == index)
            panels.append((batch["image"][0].numpy(), *truths, in_photo))
        return dict(detections=draw_detections(panels, self.class_names))

    def inputs(self):
        """The proposals."""
        return dict(proposals_dir=self.settings.proposals_dir)

    def facts(self, model, result=None):
        """How the number is computed; after an evaluation the classes' own, too."""
        settings = self.settings
        source = Manifest.read(settings.proposals_dir, "proposals").info
        several = (
            f"; multi_scale: shorter sides {','.join(map(str, settings.detection_scales))}"
            if len(settings.detection_scales) > 1
            else ""
        )
        counted = np.mean([len(boxes) for boxes in self._images[self.eval_split].proposals])
        return dict(
            result.facts if result else {},
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
            f"step; photos of {settings.detection_test_scale} "
            f"pixels, at most {settings.detection_test_max_side}{several}; fully connected layers "
            f"{start_in_words(self.keep_fc)}",
        )

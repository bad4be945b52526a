"""What tests of several modules share: TensorFlow imported quietly, a small
image data set, hand-made runs.
"""

import io
import json
import os
import pathlib
import typing

import numpy as np
import pytest
from PIL import Image

from ccssl_tf.data.manifest import Manifest, shard_name
from ccssl_tf.runs import machine
from ccssl_tf.runs.files import fingerprint_of

machine.quiet_tensorflow()

CLASS_NAMES = ["circle", "square", "triangle"]


def flag_words(**values) -> list[str]:
    """Returns flags as typed: True and False as --x and --nox, a list as several flags."""
    words = []
    for name, value in values.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no{name}")
        else:
            items = value if isinstance(value, list) else [value]
            words += [f"--{name}={item}" for item in items]
    return words


def jpeg_of(pixels, **options) -> bytes:
    """Encodes [h, w, 3] or [h, w] uint8 as JPEG, nearly without loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **dict(dict(quality=98, subsampling=0), **options))
    return buffer.getvalue()


def smooth_picture(seed, height, width):
    """Draws [h, w, 3] uint8 of slow waves, which JPEG keeps to within a few grey levels."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    phases, angles = random.uniform(0, 6.3, 3), random.uniform(0, 6.3, 3)
    waves = [
        np.sin(x * np.cos(angle) + y * np.sin(angle) + phase)
        for phase, angle in zip(phases, angles, strict=True)
    ]
    return np.round(127.5 + 120 * np.stack(waves, -1)).astype(np.uint8)


def write_images(
    directory, shard_sizes: dict[str, list[int]], *, info=None, first_seed=0
) -> Manifest:
    """Writes a finished directory of image shards: generated JPEGs of odd sizes, label = index mod
    3, names that are not all UTF-8.

    Args:
      directory: made if absent.
      shard_sizes: split -> number of images of each shard.
      info: the manifest's; class names and a source by default.
      first_seed: pictures differ from those of another seed.
    """
    from ccssl_tf.data import records

    directory.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, sizes in shard_sizes.items():
        splits[split], index = [], 0
        for shard, size in enumerate(sizes):
            examples = []
            for _ in range(size):
                height, width = 41 + 7 * (index % 5), 57 - 3 * (index % 4)
                examples.append(
                    records.image_example(
                        encoded=jpeg_of(
                            smooth_picture([first_seed, len(split), index], height, width)
                        ),
                        filename=f"{split} {index}".encode() + b"-\xff\xe9.jpg",
                        height=height,
                        width=width,
                        index=index,
                        label=index % 3,
                        text=CLASS_NAMES[index % 3].encode(),
                    )
                )
                index += 1
            splits[split].append(
                records.write_shard(directory / shard_name(split, shard, len(sizes)), examples)
            )
    manifest = Manifest(
        "images",
        splits,
        dict(class_names=CLASS_NAMES, source="generated") if info is None else info,
    )
    manifest.write(directory)
    return manifest


@pytest.fixture(scope="session")
def image_dir(tmp_path_factory):
    """48 training images in 3 shards and 16 of validation in 1, of 3 classes. Not to be
    written to.
    """
    directory = tmp_path_factory.mktemp("images") / "data"
    write_images(directory, {"train": [16, 16, 16], "val": [16]})
    return directory


@pytest.fixture(scope="session")
def voc_dir(tmp_path_factory):
    """48 photos of trainval and 10 of test, 4 classes: the last is shown nowhere, others in some
    only as difficult objects.
    """
    from ccssl_tf.data import records, voc_records

    directory, splits = tmp_path_factory.mktemp("voc"), {}
    for split, size in dict(trainval=48, test=10).items():
        examples = []
        for index in range(size):
            presence = [
                1 if (index + number) % 3 == 0 else 0 if (index + number) % 5 == 0 else -1
                for number in range(3)
            ]
            height, width = 60 + index % 7, 90 - index % 5
            examples.append(
                records.image_example(
                    encoded=jpeg_of(smooth_picture([len(split), index], height, width)),
                    filename=f"{index:06d}.jpg".encode(),
                    height=height,
                    width=width,
                    index=index,
                    extra=voc_records.presence_features([*presence, -1]),
                )
            )
        splits[split] = [records.write_shard(directory / shard_name(split, 0, 1), examples)]
    Manifest("images", splits, dict(class_names=list("abcd"), source="generated")).write(directory)
    return directory


def write_masked_images(directory, splits: dict[str, int], *, info=None, side=48, last_class=None):
    """Writes photos of about `side` pixels, all of other sizes, with a rectangle of one of 3
    classes, framed by void, and its mask.

    The mask of the last image of each split has, with `last_class`, one pixel of it.
    """
    import tensorflow as tf

    from ccssl_tf.data import records, voc_records

    directory.mkdir(parents=True, exist_ok=True)
    shards = {}
    for split, size in splits.items():
        examples = []
        for index in range(size):
            height, width = side + 3 * (index % 4), side + 16 - 5 * (index % 3)
            photo, mask = (
                smooth_picture([len(split), index], height, width) // 2 + 60,
                np.zeros([height, width], np.uint8),
            )
            top, left, label = height // 4 + index % 5, width // 5 + index % 7, 1 + index % 3
            place = slice(top, top + height // 2), slice(left, left + width // 2)
            mask[place] = 255
            mask[top + 2 : place[0].stop - 2, left + 2 : place[1].stop - 2] = label
            photo[place] = np.eye(3)[label - 1] * 200 + 25
            if last_class is not None and index == size - 1:
                mask[0, 0] = last_class
            png = tf.io.encode_png(mask[..., None]).numpy()
            record = dict(
                encoded=jpeg_of(photo),
                filename=f"{split}_{index:03d}.jpg".encode(),
                height=height,
                width=width,
                index=index,
            )
            examples.append(records.image_example(**record, extra=voc_records.mask_features(png)))
        shards[split] = [records.write_shard(directory / shard_name(split, 0, 1), examples)]
    Manifest(
        "images", shards, info or dict(class_names=["red", "green", "blue"], source="generated")
    ).write(directory)


@pytest.fixture(scope="session")
def mask_dir(tmp_path_factory):
    """32 training photos and 5 of validation with masks of 3 classes. Not to be written to."""
    directory = tmp_path_factory.mktemp("masks")
    write_masked_images(directory, dict(train=32, val=5))
    return directory


def write_objects(directory, splits: dict[str, int], *, proposals_dir, side=48, num_proposals=30):
    """Writes photos of about `side` pixels with one or two rectangles, their colour their class,
    and proposals near and far from them.
    """
    from ccssl_tf.data import proposal_records, records, voc_records

    shards, proposal_shards = {}, {}
    for split, size in splits.items():
        examples, proposals = [], []
        for index in range(size):
            random = np.random.default_rng([len(split), index])
            height, width = side + 3 * (index % 4), side + 16 - 5 * (index % 3)
            photo, boxes, labels = (
                smooth_picture([len(split), index], height, width) // 3 + 40,
                [],
                [],
            )
            for number in range(1 + index % 2):
                while True:
                    w, h = (
                        random.integers(width // 4, width // 2),
                        random.integers(height // 3, height // 2),
                    )
                    x, y = random.integers(0, width - w), random.integers(0, height - h)
                    # One that covered another could not be found.
                    if all(
                        x >= right or x + w < left or y >= bottom or y + h < top
                        for left, top, right, bottom in boxes
                    ):
                        break
                label = (index + number) % 3
                photo[y : y + h, x : x + w] = np.eye(3)[label] * 200 + 25
                boxes.append([x + 1, y + 1, x + w, y + h])
                labels.append(label)
            moved = np.array(boxes)[
                random.integers(0, len(boxes), num_proposals)
            ] + random.integers(-9, 10, [num_proposals, 4])
            corners = np.clip(moved, 1, [width, height, width, height])
            corners = np.hstack(
                [
                    np.minimum(corners[:, :2], corners[:, 2:]),
                    np.maximum(corners[:, :2], corners[:, 2:]),
                ]
            )
            name = f"{split}_{index:03d}.jpg".encode()
            record = dict(
                encoded=jpeg_of(photo), filename=name, height=height, width=width, index=index
            )
            texts = [b"rgb"[label : label + 1] for label in labels]
            difficult = [number > 0 and index % 4 == 1 for number in range(len(boxes))]
            objects = voc_records.object_features(
                np.array(boxes),
                labels,
                texts,
                difficult=difficult,
                truncated=[False] * len(boxes),
                height=height,
                width=width,
            )
            examples.append(records.image_example(**record, extra=objects))
            proposals.append(proposal_records.proposal_example(index, name, corners))
        shards[split] = [records.write_shard(directory / shard_name(split, 0, 1), examples)]
        proposal_shards[split] = [
            records.write_shard(proposals_dir / shard_name(split, 0, 1), proposals)
        ]
    images = Manifest(
        "images", shards, dict(class_names=["red", "green", "blue"], source="generated")
    )
    images.write(directory)
    made_from = {split: images.fingerprint(split) for split in splits}
    Manifest(
        "proposals", proposal_shards, dict(method="generated", images_fingerprint=made_from)
    ).write(proposals_dir)


@pytest.fixture(scope="session")
def objects_dir(tmp_path_factory):
    """`images`, 32 photos of trainval and 6 of test with objects of 3 classes, and `proposals` for
    them. Not to be written to.
    """
    directory = tmp_path_factory.mktemp("objects")
    for name in ("images", "proposals"):
        (directory / name).mkdir()
    write_objects(
        directory / "images", dict(trainval=32, test=6), proposals_dir=directory / "proposals"
    )
    return directory


class RunMaker:
    """Writes run directories under `root`."""

    def __init__(self, root):
        self.root = root

    def add(
        self,
        name,
        command,
        *,
        inputs=None,
        metrics=None,
        flags=None,
        output=None,
        pictures=(),
        done=True,
    ):
        """Writes one run.

        Args:
          name: path below the root.
          command: words, module first; `--name=value` words also go to flags.txt.
          inputs: flag -> name of the run read.
          output: "manifest.json" or "backbone.json", whichever carries its fingerprint.
        """
        path = self.root / name
        (path / "pictures").mkdir(parents=True)
        words = command.split()
        values = (
            dict(word.removeprefix("--").split("=", 1) for word in words[1:])
            | {"seed": "0"}
            | (flags or {})
        )
        (path / "flags.txt").write_text(
            "".join(f"--{key}={value}\n" for key, value in values.items())
        )
        records = {}
        for flag, source in (inputs or {}).items():
            records[flag] = dict(path=str(self.root / source), fingerprint=fingerprint_of(source))
        run = json.dumps(dict(command=words, inputs=records, python="3.11"))
        (path / "run.json").write_text(run)
        (path / "metrics.json").write_text(json.dumps(metrics or {}))
        (path / "timing.json").write_text(json.dumps(dict(seconds=12.3, images_per_second=456.7)))
        if output:
            (path / output).write_text(json.dumps(dict(fingerprint=fingerprint_of(name))))
        for picture in pictures:
            noise = np.random.default_rng(len(name)).integers(0, 255, (60, 60, 3), np.uint8)
            Image.fromarray(noise).save(path / "pictures" / f"{picture}.png")
        if done:
            (path / "DONE").write_text(run)

    def probe(self, name, values, *, init=None, seed=0, data="data"):
        """Writes a linear probe with accuracies `values` of conv1, conv2, ..., in [0, 1]."""
        self.add(
            name,
            "ccssl_tf.train --task=linear_probe --backbone=alexnet --image_size=64 "
            f"--train_steps=100 --workdir={name}",
            inputs={"data_dir": data} | ({"init_backbone": init} if init else {}),
            flags=dict(seed=str(seed)),
            metrics=dict(
                task="linear_probe",
                step=100,
                evaluation={f"accuracy/conv{i}": value for i, value in enumerate(values, 1)},
            ),
            pictures=["conv1_filters"],
        )

    def method(self, prefix="", *, seed=0, pretext_backbone="alexnet", shift=0.0):
        """Writes every stage of the quickstart below `prefix`."""
        data, pretext, features, clusters, cc = (
            prefix + name for name in ("data", "jigsaw_pp", "features", "clusters", "cc")
        )
        history = dict(
            train=[dict(step=10 * i, loss=5 - 0.1 * i, accuracy=0.01 * i) for i in range(20)],
            evaluation=[dict(step=200, loss=3.2, accuracy=0.17)],
        )
        self.add(
            data, f"data_prep.shapes --num_images=100 --output_dir={data}", output="manifest.json"
        )
        self.add(
            pretext,
            f"ccssl_tf.train --task=jigsaw_pp --backbone={pretext_backbone} --num_permutations=100 "
            f"--workdir={pretext}",
            inputs=dict(data_dir=data),
            flags=dict(seed=str(seed)),
            metrics=dict(
                task="jigsaw_pp",
                step=200,
                num_parameters=1234567,
                facts=dict(chance=0.01, definition="share of <puzzles> solved"),
                history=history,
                evaluation=dict(accuracy=0.173 + shift, loss=3.2),
            ),
            output="backbone.json",
            pictures=["conv1_filters", "puzzle"],
        )
        self.add(
            features,
            f"ccssl_tf.extract --extractor=endpoint --workdir={features}",
            inputs=dict(data_dir=data, init_backbone=pretext),
            flags=dict(seed=str(seed)),
            output="manifest.json",
        )
        self.add(
            clusters,
            f"ccssl_tf.cluster --num_clusters=20 --workdir={clusters}",
            inputs=dict(features_dir=features),
            flags=dict(seed=str(seed)),
            metrics=dict(
                num_clusters=20,
                num_examples=90,
                inertia=1234.5,
                cluster_size=dict(min=1, median=4.5, max=9),
                splits=dict(train=dict(nmi=0.234, ari=0.1, purity=0.345, num_examples=90)),
            ),
            output="manifest.json",
            pictures=["nearest_images"],
        )
        self.add(
            cc,
            f"ccssl_tf.train --task=cluster_classification --backbone=alexnet --workdir={cc}",
            inputs=dict(data_dir=data, pseudo_labels=clusters),
            flags=dict(seed=str(seed)),
            metrics=dict(
                task="cluster_classification",
                step=50,
                facts=dict(chance=dict(train=0.2, val=0.1)),
                history=history,
                evaluation=dict(accuracy=0.4, loss=2.0),
            ),
            output="backbone.json",
            pictures=["conv1_filters"],
        )
        self.probe(
            f"{prefix}probe_random", [0.281 + shift, 0.291, 0.31, 0.32, 0.30], seed=seed, data=data
        )
        self.probe(
            f"{prefix}probe_jigsaw_pp",
            [0.271, 0.341 + shift, 0.41, 0.39, 0.33],
            init=pretext,
            seed=seed,
            data=data,
        )
        self.probe(
            f"{prefix}probe_cc",
            [0.28, 0.31, 0.36 + shift, 0.36, 0.34],
            init=cc,
            seed=seed,
            data=data,
        )
        self.add(
            f"{prefix}export",
            f"ccssl_tf.export --run={cc} --output_dir={prefix}export",
            inputs=dict(run=cc),
        )


@pytest.fixture
def runs(tmp_path):
    """A maker of runs in an empty directory."""
    return RunMaker(tmp_path / "runs")


class DeepTree(typing.NamedTuple):
    """1,100 folders in one another, which not everything can walk or remove.

    `file` is a path in the innermost; nothing is there yet.
    """

    root: pathlib.Path
    file: pathlib.Path


@pytest.fixture
def deep_tree(tmp_path):
    """See `DeepTree`."""
    here, depth = os.getcwd(), 1100
    os.chdir(tmp_path)
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(here)
    file = tmp_path / ("d/" * depth + "1.jpg")
    yield DeepTree(tmp_path, file)
    file.unlink(missing_ok=True)
    for level in range(depth, 0, -1):
        (tmp_path / ("d/" * level)).rmdir()

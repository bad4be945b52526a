"""What a reader of the READMEs has beforehand, in small, and how their commands are made small."""

import json
import pathlib
import shutil

import numpy as np
import paper_archives
from conftest import jpeg_of, smooth_picture
from voc_devkit import VocDevkit

# What has to be downloaded, what nobody has yet, and what measures for minutes.
_NOT_HERE = (
    "--name=cifar10",
    "FILE",
    "NAME",
    "HOST",
    "RECORDS",
    "BOXES",
    "resnet50.h5",
    "runs/parts",
)
# Code that needs a package which the tests do not: timm, PyTorch.
FOREIGN_CODE = ("timm", '"torch"')
PREAMBLE = """
import numpy, ccssl_tf
images = numpy.zeros([2, 64, 64, 3], numpy.uint8)
image = images[0]
"""
_TRAINED = (
    "jigsaw_pp",
    "cluster_classification",
    "probe_random",
    "probe_jigsaw_pp",
    "probe_cluster_classification",
)
_STEPS = "train_steps=2", "batch_size=8"


def is_not_here(module: str, words: list[str]) -> bool:
    """Returns whether a command cannot run where there is nothing but what `write` writes."""
    return module.startswith("tests.") or any(name in w for name in _NOT_HERE for w in words)


def in_small(module: str, words: list[str]) -> list[str]:
    """Returns the flags that make a command small; the last of a name counts."""
    if any(word.startswith("--dry_run") for word in words):
        return []
    if module == "ccssl_tf.pipeline":
        if not any("quickstart.flags" in word for word in words):
            return ["--dry_run"]
        sizes = [f"{stage}:{text}" for stage in _TRAINED for text in _STEPS]
        sizes += ["num_clusters=4"]
        if not any(word.startswith("--images") for word in words):
            sizes += ["num_train=60", "num_val=20"]
        return [f"--set={text}" for text in sizes]
    if module == "ccssl_tf.train":
        return [f"--{text}" for text in _STEPS] + ["--checkpoint_steps=2"]
    if module == "ccssl_tf.report":
        return ["--dry_run"]
    return []


def write(root: pathlib.Path):
    """Writes the inputs that the READMEs name into `root`, in which their commands run."""
    for name in ("PHOTOS/rose", "PHOTOS/tulip", "LABELLED/rose", "LABELLED/tulip"):
        (root / name).mkdir(parents=True)
        for number in range(24):
            picture = smooth_picture(number, 70, 80)
            (root / name / f"{number}.jpg").write_bytes(jpeg_of(picture))
    (root / "names.csv").write_text("cluster,name\n0,roses\n")
    archives = paper_archives.write_archives(root / "archives")
    for name, source in dict(ILSVRC="imagenet", PLACES="places").items():
        shutil.move(archives / source, root / name)
    (root / "VOC").mkdir()
    for year in (2007, 2012):
        VocDevkit(year).write_tars(root / "VOC")
    _write_coco(root)
    # As many as the training photos of PHOTOS are.
    rows = np.random.default_rng(0).normal(size=[43, 16]).astype(np.float32)
    np.savez(root / "train.npz", features=rows, indices=np.arange(len(rows)))
    paper_archives.write_published_alexnet(root / "caffenet.npz")


def _write_coco(root):
    (root / "IMAGES").mkdir()
    for split in ("train", "val"):
        images, annotations = [], []
        for number in range(1, 5):
            name = f"{split}{number}.jpg"
            (root / "IMAGES" / name).write_bytes(jpeg_of(smooth_picture(number, 60, 80)))
            identity = number + 100 * (split == "val")
            images.append(dict(id=identity, file_name=name, height=60, width=80))
            box = dict(bbox=[5, 5, 30, 20], area=600, iscrowd=0, category_id=1)
            annotations.append(dict(box, id=identity, image_id=identity, segmentation=[]))
        content = dict(images=images, annotations=annotations)
        content["categories"] = [dict(id=1, name="cat")]
        (root / f"instances_{split}2017.json").write_text(json.dumps(content))

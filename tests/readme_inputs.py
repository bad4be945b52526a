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
FOREIGN_CODE = ("import timm", '"torch"')
PREAMBLE = """
import numpy, ccssl_tf
images = numpy.zeros([2, 64, 64, 3], numpy.uint8)
"""
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
        sizes = ("num_train=60", "num_val=20", "num_clusters=4", "jigsaw_pp:eval_steps=0")
        images = any(word.startswith("--images") for word in words)
        return [f"--set={text}" for text in (*_STEPS, *sizes[2 if images else 0 :])]
    if module == "ccssl_tf.train":
        return [f"--{text}" for text in _STEPS] + ["--checkpoint_steps=2"]
    if module == "ccssl_tf.report":
        return ["--dry_run"]
    return []


def write(root: pathlib.Path):
    """Writes the inputs that the READMEs name into `root`, in which their commands run."""
    for name in ("PHOTOS", "LABELLED/rose", "LABELLED/tulip"):
        (root / name).mkdir(parents=True)
        for number in range(24):
            picture = smooth_picture(number, 70, 80)
            (root / name / f"{name[-4:]}{number}.jpg").write_bytes(jpeg_of(picture))
    archives = paper_archives.write_archives(root / "archives")
    for name, source in dict(ILSVRC="imagenet", PLACES="places").items():
        shutil.move(archives / source, root / name)
    for year in (2007, 2012):
        VocDevkit(year).write_tars(root / "VOC") if (root / "VOC").mkdir(exist_ok=True) else None
    _write_coco(root)
    rows = np.random.default_rng(0).normal(size=[60, 16]).astype(np.float32)
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

"""Archives laid out as the published ones, a few pictures each, made for tests.

They are ImageNet's, Places205's, those of VOC 2007 and 2012, and boxes as Fast R-CNN's.
"""

import io
import pathlib
import tarfile

import numpy as np
import scipy.io
from PIL import Image
from voc_devkit import VocDevkit

WNIDS = ("n01440764", "n02123045", "n03417042")
SCENES = ("a/abbey", "b/beach")
_SIDE = 260


def write_archives(root: pathlib.Path) -> pathlib.Path:
    """Writes imagenet/, places/, voc2007/, voc2012/ and voc2007_boxes/; returns root."""
    rng = np.random.default_rng(0)
    _write_imagenet(root / "imagenet", rng)
    _write_places(root / "places", rng)
    VocDevkit(2007).write_tars(_made(root / "voc2007"))
    VocDevkit(2012).write_tars(_made(root / "voc2012"))
    _write_boxes(_made(root / "voc2007_boxes"))
    return root


def _made(directory):
    directory.mkdir(parents=True)
    return directory


def _jpeg(rng):
    file = io.BytesIO()
    pixels = rng.integers(0, 256, [10, 10, 3], np.uint8)
    Image.fromarray(pixels).resize((_SIDE, _SIDE)).save(file, "JPEG")
    return file.getvalue()


def _tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _write_imagenet(directory, rng):
    _made(directory)
    classes = {
        f"{wnid}.tar": _tar({f"{wnid}_{number}.JPEG": _jpeg(rng) for number in range(8)})
        for wnid in WNIDS
    }
    (directory / "ILSVRC2012_img_train.tar").write_bytes(_tar(classes))
    val = [f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 7)]
    (directory / "ILSVRC2012_img_val.tar").write_bytes(_tar({name: _jpeg(rng) for name in val}))
    truth = "".join(f"{name} {number % len(WNIDS)}\n" for number, name in enumerate(val))
    (directory / "val.txt").write_text(truth)


def _write_places(directory, rng):
    lists = _made(directory / "trainvalsplit_places205")
    names = [f"{scene}/{number:08}.jpg" for scene in SCENES for number in range(1, 13)]
    folder = "data/vision/torralba/deeplearning/images256"
    files = {f"{folder}/{name}": _jpeg(rng) for name in names}
    (directory / "imagesPlaces205_resize.tar").write_bytes(_tar(files))
    labelled = [f"{name} {SCENES.index(name.rpartition('/')[0])}\n" for name in names]
    (lists / "train_places205.csv").write_text("".join(labelled[:9] + labelled[12:21]))
    (lists / "val_places205.csv").write_text("".join(labelled[9:12] + labelled[21:]))


def _write_boxes(directory):
    width, height = VocDevkit.SIZE
    for split in ("trainval", "test"):
        names = [
            image_id
            for image_id, of_split, _ in VocDevkit.PICTURES
            if (of_split == "test") == (split == "test")
        ]
        images, boxes = np.empty([len(names), 1], object), np.empty([1, len(names)], object)
        for row, name in enumerate(names):
            images[row, 0] = name
            boxes[0, row] = np.array([[1, 1, height, width], [2, 2, 12, 12]], float)
        content = dict(images=images, boxes=boxes)
        scipy.io.savemat(directory / f"voc_2007_{split}.mat", content, do_compression=True)


def write_published_alexnet(path: pathlib.Path):
    """Writes the convolutions of an AlexNet as the arrays of a caffemodel."""
    rng = np.random.default_rng(0)
    shapes = [(96, 3, 11), (256, 48, 5), (384, 256, 3), (384, 192, 3), (256, 192, 3)]
    arrays = {}
    for number, (filters, channels, side) in enumerate(shapes, start=1):
        kernel = rng.normal(0, 0.05, [filters, channels, side, side]).astype(np.float32)
        arrays |= {f"conv{number}/0": kernel, f"conv{number}/1": np.zeros(filters, np.float32)}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)

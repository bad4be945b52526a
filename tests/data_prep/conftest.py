"""Runs the conversion commands as a user does; each start of TensorFlow in a worker costs seconds,
so what they make is shared.
"""

import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from ccssl_tf.data.manifest import Manifest

ROOT = pathlib.Path(__file__).parents[2]


class Commands:
    """The converters' command lines."""

    SHAPES = ("shapes", "--num_train=750", "--num_val=20", "--image_size=24")

    @staticmethod
    def start(module, *flags, interpreter=()):
        """Starts `python [interpreter's options] -m data_prep.MODULE`."""
        command = [sys.executable, *interpreter, "-m", f"data_prep.{module}", *map(str, flags)]
        return subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    @classmethod
    def run(cls, module, *flags, code=0, without=()):
        """Runs it to its end; returns what it printed and what it complained about.

        Args:
          code: the exit code it must have.
          without: packages that it must not import, since they take long.
        """
        interpreter = ("-X", "importtime") if without else ()
        process = cls.start(module, *flags, interpreter=interpreter)
        output, errors = process.communicate(timeout=300)
        if without:
            lines = errors.splitlines(keepends=True)
            imports = [line for line in lines if line.startswith("import time:")]
            errors = "".join(line for line in lines if not line.startswith("import time:"))
            assert not {line.split()[-1] for line in imports} & set(without)
        assert process.returncode == code, (output, errors)
        assert "Traceback" not in errors
        return output, errors

    @staticmethod
    def content(directory):
        """Returns name -> digest of every file that others read."""
        housekeeping = {"run.json", "DONE", "flags.txt", "timing.json", ".lock", ".holder"}
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in directory.iterdir()
            if path.name not in housekeeping
        }

    @staticmethod
    def records(directory, split):
        """Yields every image record of a split, in order, as key -> value."""
        import tensorflow as tf

        for shard in Manifest.read(directory, "images").shards(split):
            for serialized in tf.data.TFRecordDataset(
                str(directory / shard.name)
            ).as_numpy_iterator():
                features = tf.train.Example.FromString(serialized).features.feature
                yield {
                    key: (value.bytes_list.value or value.int64_list.value)[0]
                    for key, value in features.items()
                }


@pytest.fixture(scope="session")
def commands():
    """See `Commands`."""
    return Commands


@pytest.fixture(scope="session")
def shapes_dir(tmp_path_factory):
    """What `commands.SHAPES` makes. Not to be written to."""
    directory = tmp_path_factory.mktemp("shapes") / "out"
    output, errors = Commands.run(*Commands.SHAPES, f"--output_dir={directory}", "--num_workers=2")
    assert errors == ""
    assert "750 train, 20 val images, 10 classes" in output and "images/s" in output
    return directory


class VocDevkit:
    """Six pictures in the devkit's layout: files by name below `VOC2007/`, to be changed by a test
    and written as tree or tars.
    """

    # Id, split, objects: class, box, difficult, truncated.
    PICTURES = (
        ("000001", "train", (("dog", (1, 1, 23, 17), 0, 1), ("person", (8, 3, 8, 3), 1, 0))),
        ("000002", "train", (("car", (2, 2, 22, 16), 1, 0), ("car", (3, 3, 21, 15), 0, 0))),
        ("000003", "val", (("tvmonitor", (5, 6, 7, 8), 0, 0),)),
        ("000004", "val", (("aeroplane", (11, 1, 23, 5), 0, 0),)),
        ("000005", "test", (("dog", (1, 2, 3, 4), 1, 1),)),
        ("000006", "test", (("dog", (1, 2, 3, 17), 0, 0),)),
    )
    SIZE = 23, 17

    def __init__(self):
        from data_prep.voc_xml import CLASSES

        self.files = {}
        random = np.random.default_rng(0)
        for image_id, _, objects in self.PICTURES:
            self.files[f"JPEGImages/{image_id}.jpg"] = self.encoded(
                random.integers(0, 256, (*self.SIZE[::-1], 3), np.uint8), "JPEG"
            )
            self.files[f"SegmentationClass/{image_id}.png"] = self.mask(int(image_id))
            self.files[f"Annotations/{image_id}.xml"] = self.annotation(objects)
        splits = {
            split: [picture for picture in self.PICTURES if picture[1] == split]
            for split in ("train", "val", "test")
        }
        splits["trainval"] = splits["train"] + splits["val"]
        for split, pictures in splits.items():
            ids = "".join(f"{image_id}\n" for image_id, _, _ in pictures).encode()
            self.files[f"ImageSets/Main/{split}.txt"] = self.files[
                f"ImageSets/Segmentation/{split}.txt"
            ] = ids
            for name in CLASSES:
                lines = [
                    f"{image_id} {self.state(objects, name):2d}\n"
                    for image_id, _, objects in pictures
                ]
                self.files[f"ImageSets/Main/{name}_{split}.txt"] = "".join(lines).encode()

    @staticmethod
    def state(objects, name):
        """1: such an object, 0: difficult ones alone, -1: none."""
        difficult = [item[2] for item in objects if item[0] == name]
        return -1 if not difficult else int(0 in difficult)

    @staticmethod
    def encoded(pixels, file_format, **options):
        """Encodes an array or a Pillow image."""
        file = io.BytesIO()
        (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(
            file, file_format, **options
        )
        return file.getvalue()

    @classmethod
    def mask_pixels(cls, seed):
        """[H, W] uint8 of 0..20 and 255."""
        return np.random.default_rng(seed).choice(
            np.array([*range(21), 255], np.uint8), cls.SIZE[::-1]
        )

    @classmethod
    def mask(cls, seed):
        """The same as a palette PNG."""
        image = Image.frombytes("P", cls.SIZE, cls.mask_pixels(seed).tobytes())
        image.putpalette(cls.palette())
        return cls.encoded(image, "PNG")

    @staticmethod
    def palette():
        """The devkit's colours, written as its VOClabelcolormap.m computes them: [768] ints."""
        colors = []
        for index in range(256):
            red = green = blue = 0
            rest = index
            for bit in range(8):
                red |= (rest & 1) << 7 - bit
                green |= (rest >> 1 & 1) << 7 - bit
                blue |= (rest >> 2 & 1) << 7 - bit
                rest >>= 3
            colors += [red, green, blue]
        return colors

    @classmethod
    def annotation(cls, objects):
        """The XML; coordinates in the odd order of some real files."""
        elements = "".join(
            f"<object><name>{name}</name><truncated>{truncated}</truncated><difficult>{difficult}</difficult><bndbox><xmax>{x2}</xmax>"
            f"<xmin>{x1}</xmin><ymin>{y1}</ymin><ymax>{y2}</ymax></bndbox><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
            for name, (x1, y1, x2, y2), difficult, truncated in objects
        )
        width, height = cls.SIZE
        size = f"<width>{width}</width><height>{height}</height><depth>3</depth>"
        size = f"<size>{size}</size>"
        return f"<annotation><folder>VOC2007</folder>{size}{elements}</annotation>".encode()

    def write_tree(self, root):
        """Writes `root/VOCdevkit/VOC2007`; returns root."""
        for name, data in self.files.items():
            path = root / "VOCdevkit" / "VOC2007" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return root

    def write_tars(self, root):
        """Writes a trainval and a test tar; returns root."""
        root.mkdir(exist_ok=True)
        test_ids = [picture[0] for picture in self.PICTURES if picture[1] == "test"]
        for kind in ("trainval", "test"):
            with tarfile.open(root / f"VOC{kind}_06-Nov-2007.tar", "w") as archive:
                for name, data in self.files.items():
                    of_test = name.endswith("test.txt") or any(
                        image_id in name for image_id in test_ids
                    )
                    if of_test == (kind == "test"):
                        info = tarfile.TarInfo(f"VOCdevkit/VOC2007/{name}")
                        info.size = len(data)
                        archive.addfile(info, io.BytesIO(data))
        return root


@pytest.fixture(scope="session")
def voc_devkit_class():
    """See `VocDevkit`."""
    return VocDevkit


@pytest.fixture
def voc_devkit():
    """A devkit of one's own."""
    return VocDevkit()


@pytest.fixture(scope="session")
def textured_dir(tmp_path_factory):
    """Converted images, made by hand: `trainval` of 11 in two shards, `test` of 2, one of which is
    in `trainval` too.
    """
    from ccssl_tf.data import records

    directory = tmp_path_factory.mktemp("textured")
    pictures = {}
    for number in range(12):
        pixels = np.full((50 + number, 60, 3), 30, np.uint8)
        pixels[5:30, 5:35] = np.random.default_rng(number).integers(0, 256, 3)
        pixels[20:45, 25:55] = np.random.default_rng(100 + number).integers(0, 256, 3)
        pictures[number] = VocDevkit.encoded(pixels, "JPEG", quality=95)

    def example(index, number):
        name = b"%06d.jpg" % number
        return records.image_example(
            encoded=pictures[number], filename=name, height=50 + number, width=60, index=index
        )

    def shard(name, examples):
        return records.write_shard(directory / name, list(examples))

    splits = {
        "test": [shard("test-00000-of-00001.tfrecord", (example(0, 11), example(1, 3)))],
        "trainval": [
            shard("trainval-00000-of-00002.tfrecord", (example(i, i) for i in range(9))),
            shard("trainval-00001-of-00002.tfrecord", (example(i, i) for i in (9, 10))),
        ],
    }
    Manifest("images", splits, {"class_names": None}).write(directory)
    return directory

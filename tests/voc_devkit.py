"""A PASCAL VOC devkit of six pictures, made for tests."""

import io
import tarfile

import numpy as np
from PIL import Image


class VocDevkit:
    """Six pictures in the devkit's layout: files by name below `VOC<year>/`.

    A test may change them before it writes them as tree or tars.

    Attributes:
      year: in the names of folders and archives.
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

    def __init__(self, year=2007):
        from data_prep.voc_xml import CLASSES

        self.year, self.files = year, {}
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
        """Writes `root/VOCdevkit/VOC<year>`; returns root."""
        for name, data in self.files.items():
            path = root / "VOCdevkit" / f"VOC{self.year}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return root

    def write_tars(self, root):
        """Writes a trainval and a test tar; returns root."""
        root.mkdir(exist_ok=True)
        test_ids = [picture[0] for picture in self.PICTURES if picture[1] == "test"]
        for kind in ("trainval", "test"):
            date = "06-Nov-2007" if self.year == 2007 else "11-May-2012"
            with tarfile.open(root / f"VOC{kind}_{date}.tar", "w") as archive:
                for name, data in self.files.items():
                    of_test = name.endswith("test.txt") or any(
                        image_id in name for image_id in test_ids
                    )
                    if of_test == (kind == "test"):
                        info = tarfile.TarInfo(f"VOCdevkit/VOC{self.year}/{name}")
                        info.size = len(data)
                        archive.addfile(info, io.BytesIO(data))
        return root

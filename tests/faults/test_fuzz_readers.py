"""Damaged files of every kind that comes from outside, and arrays of our own: what is read is what
was written, or it is refused in one line.

30,000 mutations with `-m slow` (a part of them: `-k NAME`), some of each otherwise. The damaged
file stays in the test's directory where a mutation fails; its number is the seed.
"""

import dataclasses
import functools
import io
import json
import pathlib
import tarfile
from collections.abc import Callable

import numpy as np
import pytest
import scipy.io
from conftest import smooth_picture
from mutations import mutated
from PIL import Image

from ccssl_tf.data import numpy_files, outcomes
from ccssl_tf.runs.errors import CcsslError
from data_prep import (
    class_file,
    coco_layout,
    decoding,
    file_list,
    imagenet_truth,
    jpeg,
    locations,
    mask_annotator,
    mask_values,
    parquet_layout,
    precomputed_boxes,
    tfrecord_file,
)
from data_prep.faults import Faults
from data_prep.object_annotator import BoxEdges
from data_prep.voc_xml import AnnotationReader

CONTENT, SHAPE, NOTHING = "content", "shape", "nothing"
ROWS = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
RECORD = bytes(range(200))
BOXES = {"000001": np.array([[1, 2, 30, 40], [5, 5, 5, 5]]), "000002": np.array([[60, 50, 60, 50]])}


@dataclasses.dataclass(frozen=True)
class Reader:
    """A kind of file and what reads it.

    Attributes:
      file: its name; the first part names the kind.
      count: mutations of the slow test.
      write: writes a sound one.
      read: what the project makes of it.
      keeps: what damage must not change unnoticed: the content, where the format has checksums;
        its shape, where numbers have none but are counted; nothing, where the format is text, or
        pixels without checksum, in which damage is another sound file.
    """

    file: str
    count: int
    write: Callable[[pathlib.Path], object]
    read: Callable[[pathlib.Path], object]
    keeps: str


def told(content, keeps):
    """What of `content` must stay, as something that can be compared."""
    if keeps == NOTHING:
        return None
    if isinstance(content, dict):
        return {name: told(value, keeps) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [told(value, keeps) for value in content]
    if keeps == SHAPE:
        return np.shape(content)
    return content.tolist() if isinstance(content, np.ndarray) else content


def check(reader: Reader, directory: pathlib.Path, count: int):
    """Reads `count` mutations of a file; raises AssertionError, or what the reader raises, for one
    that is neither refused nor what it was.
    """
    path = directory / reader.file
    reader.write(path)
    content, expected = path.read_bytes(), told(reader.read(path), reader.keeps)
    refused = 0
    for number in range(count):
        damaged = mutated(content, np.random.default_rng([len(content), number]))
        path.write_bytes(damaged)
        try:
            found = told(reader.read(path), reader.keeps)
        except CcsslError as error:
            assert "\n" not in str(error), number
            refused += 1
        else:
            assert found == expected, number
    assert count < 10 or refused, "every mutation was taken for sound"


def cells(values):
    """A MATLAB cell array."""
    array = np.empty([len(values), 1], object)
    for row, value in enumerate(values):
        array[row, 0] = value
    return array


def write_boxes_mat(path):
    y1_first = [boxes[:, [1, 0, 3, 2]].astype(float) for boxes in BOXES.values()]
    content = dict(images=cells(list(BOXES)), boxes=cells(y1_first).T)
    scipy.io.savemat(path, content, do_compression="packed" in path.name)


def write_mask_mat(path):
    mask = np.zeros([17, 23], np.uint8)
    mask[3:9, 4:12] = 7
    scipy.io.savemat(path, {"GTcls": {"Segmentation": mask, "CategoriesPresent": [7]}})


def write_meta_mat(path):
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    rows = [(number, f"n0000000{number}", "words") for number in (2, 3, 1)]
    scipy.io.savemat(path, {"synsets": np.array(rows, kind).reshape(-1, 1)})


def write_picture(path):
    image = Image.fromarray(smooth_picture(1, 24, 32))
    image.save(path, path.suffix[1:].replace("jpg", "jpeg"))


def write_mask_png(path):
    Image.fromarray(np.arange(17 * 23, dtype=np.uint8).reshape(17, 23) % 4).save(path)


def write_annotation(path):
    corners = "<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>"
    shown = f"<object><name>cat</name><difficult>0</difficult><bndbox>{corners}</bndbox></object>"
    size = "<size><width>60</width><height>50</height></size>"
    path.write_text(f"<annotation>{size}{shown * 3}</annotation>")


def read_annotation(path):
    reader = AnnotationReader(Faults("source"), BoxEdges(False))
    annotation = reader.read(path.read_bytes(), path.name, lambda: (60, 50))
    reader.faults.refuse()
    return annotation


def write_instances(path):
    (path.parent / "photos").mkdir()
    images, annotations = [], []
    for number in range(3):
        write_picture(path.parent / "photos" / f"{number}.jpg")
        images.append(dict(id=number, file_name=f"{number}.jpg", width=32, height=24))
        polygon = [[2, 2, 20, 3, 18.5, 20]]
        more = dict(bbox=[1, 2, 20, 15.5], segmentation=polygon, iscrowd=0)
        annotations.append(dict(id=number, image_id=number, category_id=5, **more))
    categories = [dict(id=5, name="cat")]
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))


def read_instances(path):
    for task in ("detection", "segmentation"):
        made = coco_layout.list_images(path.parent / "photos", [path], task=task, splits=["train"])
    return made


def read_list(path):
    return file_list.read_list(path, {b"a.jpg", b"b.jpg", "zwölf.jpg".encode()})


def write_tar(path):
    with tarfile.open(path, "w") as archive:
        for number in range(4):
            member = tarfile.TarInfo(f"n0{number}/{number}.jpg")
            member.size = 700
            archive.addfile(member, io.BytesIO(bytes([number]) * 700))


def write_table(path):
    import pyarrow
    from pyarrow import parquet

    pictures = []
    for number in range(3):
        file = io.BytesIO()
        Image.fromarray(smooth_picture(number, 8, 8)).save(file, "PNG")
        pictures.append(dict(bytes=file.getvalue(), path=f"{number}.png"))
    table = pyarrow.table(dict(image=pictures, label=[0, 1, 0]))
    parquet.write_table(table, path, write_page_checksum=True)


def read_table(path):
    parquet_layout._group.cache_clear()
    items = parquet_layout.list_images(path.parent, [path], classes=None, label_column=None).splits
    return [len(parquet_layout.read_image(item.location)) for item in items["train"]]


def write_records(path):
    from google_crc32c import value

    def masked(data):
        crc = value(data)
        return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")

    length = len(RECORD).to_bytes(8, "little")
    path.write_bytes((length + masked(length) + RECORD + masked(RECORD)) * 4)


def read_records(path):
    faults = Faults(str(path))
    found = [data for _, data in tfrecord_file.read_records(path, faults)]
    faults.refuse()
    # Cut between records it is another sound file, whose number of records others know.
    return all(data == RECORD for data in found)


def read_truth(path):
    ids = imagenet_truth._ids_of(path.read_bytes(), path)
    return np.array(sorted(ids))


# Readers that need no TensorFlow.
LIGHT = [
    Reader(
        "boxes.npz",
        3000,
        lambda path: np.savez(path, **BOXES),
        lambda path: dict(precomputed_boxes.read_boxes(path)),
        CONTENT,
    ),
    Reader(
        "packed_boxes.npz",
        2000,
        lambda path: np.savez_compressed(path, **BOXES),
        lambda path: dict(precomputed_boxes.read_boxes(path)),
        CONTENT,
    ),
    Reader("boxes.mat", 1500, write_boxes_mat, precomputed_boxes.read_boxes, NOTHING),
    Reader("packed_boxes.mat", 1000, write_boxes_mat, precomputed_boxes.read_boxes, NOTHING),
    Reader(
        "boxes.json",
        1500,
        lambda path: path.write_text(json.dumps({k: v.tolist() for k, v in BOXES.items()})),
        precomputed_boxes.read_boxes,
        NOTHING,
    ),
    Reader(
        "mask.mat",
        1500,
        write_mask_mat,
        lambda path: mask_annotator.read_sbd_mask(path.read_bytes()),
        NOTHING,
    ),
    Reader("meta.mat", 1000, write_meta_mat, read_truth, NOTHING),
    Reader("rows.npy", 3000, lambda path: np.save(path, ROWS), numpy_files.read_array, SHAPE),
    Reader(
        "mapped.npy",
        500,
        lambda path: np.save(path, ROWS),
        lambda path: numpy_files.read_array(path, mapped=True),
        SHAPE,
    ),
    Reader(
        outcomes.FILE_NAME,
        1500,
        lambda path: outcomes.write_outcomes(dict(conv1=np.arange(99) % 3 == 0), path.parent),
        lambda path: dataclasses.asdict(outcomes.read_outcomes(path.parent)),
        CONTENT,
    ),
    *(
        Reader(
            f"picture.{suffix}",
            900,
            write_picture,
            lambda path: decoding.convert_image(
                path.read_bytes(), decoding.DecodeOptions(), check_jpeg=jpeg.check_strictly
            ),
            NOTHING,
        )
        for suffix in ("jpg", "png", "webp", "gif", "bmp", "tiff", "avif")
    ),
    Reader(
        "mask.png",
        1500,
        write_mask_png,
        lambda path: mask_values.read_png_mask(
            path.read_bytes(), mask_values.MaskColors(20), (23, 17)
        )[0],
        CONTENT,
    ),
    Reader("annotation.xml", 2000, write_annotation, read_annotation, NOTHING),
    Reader("instances_train2017.json", 1000, write_instances, read_instances, NOTHING),
    Reader(
        "list.csv",
        700,
        lambda path: path.write_text("filename,label,split\na.jpg,cat,train\nb.jpg,dog,val\n"),
        read_list,
        NOTHING,
    ),
    Reader(
        "list.txt",
        500,
        lambda path: path.write_text("a.jpg cat\nb.jpg dog\nzwölf.jpg cat\n", encoding="utf-8"),
        read_list,
        NOTHING,
    ),
    Reader(
        "classes.txt",
        200,
        lambda path: path.write_text("cat\ndog\nvogel\n"),
        class_file.read_classes,
        NOTHING,
    ),
    Reader(
        "images.tar",
        700,
        write_tar,
        lambda path: [locations.read_location(f.location) for f in locations.tar_members(path)],
        NOTHING,
    ),
    Reader("train.parquet", 300, write_table, read_table, NOTHING),
    Reader("data.tfrecord", 1000, write_records, read_records, CONTENT),
]


def write_codebook(path):
    from ccssl_tf.features.hog_codebook import Codebook

    Codebook(ROWS, dict(cell=8), dict(seed=0)).save(path)


def read_codebook(path):
    from ccssl_tf.features.hog_codebook import Codebook

    return dataclasses.asdict(Codebook.load(path, dict(cell=8)))


def write_checkpoint(path):
    from ccssl_tf.clustering import checkpoint

    checkpoint.save(path, checkpoint.FitState.start(ROWS[:2], 12), "belongs to")


def read_checkpoint(path):
    from ccssl_tf.clustering import checkpoint

    return vars(checkpoint.load(path, "belongs to", checkpoint.FitState))


def write_centroids(path):
    np.save(path, ROWS)
    (path.parent / "DONE").write_text("{}")


def read_centroids(path):
    from ccssl_tf.clustering.fitted import FittedClusters

    return FittedClusters(path.parent).centroids


def write_rows(path):
    if path.suffix == ".npz":
        np.savez_compressed(path, features=ROWS, filenames=[f"{n}.jpg" for n in range(12)])
        return
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(dict(features=ROWS.tolist(), index=range(12))), path)


def read_rows(path):
    from ccssl_tf.features.feature_rows_file import open_rows

    rows = open_rows(path)
    return dict(features=rows.features, names=rows.names, indices=rows.indices)


@functools.cache
def small_network():
    from ccssl_tf.models import AlexNet

    return AlexNet(width_multiplier=0.03, image_size=67, fc_units=(), normalization="none")


def write_caffe(path):
    from ccssl_tf.models.caffe_arrays import write_caffe_arrays

    write_caffe_arrays(path, small_network())


def read_caffe(path):
    from ccssl_tf.models.caffe_arrays import CaffeArrays, arrayed_layers

    with CaffeArrays(path) as arrays:
        weights = [arrays.weights(layer) for layer in arrayed_layers(small_network())]
        return dict(convention=arrays.convention([104.0, 117.0, 123.0]), weights=weights)


def read_keras(path):
    from ccssl_tf.models import backbone_file

    return [np.asarray(weight) for weight in backbone_file.load_model(path).weights]


def write_vgg16(path):
    import h5py

    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for block, depth in enumerate((2, 2, 3, 3, 3), 1):
            for number in range(1, depth + 1):
                group = file.create_group(f"block{block}_conv{number}")
                group["W_1:0"], group["b_1:0"] = random.normal(size=(3, 3, 2, 2)), np.zeros(2)


def read_vgg16(path):
    from ccssl_tf.models.keras_vgg16 import KerasVgg16

    with KerasVgg16(path) as source:
        return [
            source._read(layer, number, ((3, 3, 2, 2), (2,))[number])
            for layer, number in (("conv1_1", 0), ("conv1_1", 1), ("conv5_3", 0), ("conv3_2", 1))
        ]


# Readers that import it.
HEAVY = [
    Reader("codebook.npz", 500, write_codebook, read_codebook, CONTENT),
    Reader("checkpoint.npz", 500, write_checkpoint, read_checkpoint, CONTENT),
    Reader("centroids.npy", 500, write_centroids, read_centroids, SHAPE),
    Reader("rows.npz", 400, write_rows, read_rows, CONTENT),
    Reader("rows.parquet", 200, write_rows, read_rows, NOTHING),
    Reader("caffe.npz", 100, write_caffe, read_caffe, CONTENT),
    Reader("net.keras", 100, lambda path: small_network().save(path), read_keras, CONTENT),
    Reader("vgg16.h5", 300, write_vgg16, read_vgg16, NOTHING),
]


def by_file(readers):
    return pytest.mark.parametrize("reader", readers, ids=lambda reader: reader.file)


def test_the_slow_ones_are_many():
    assert sum(reader.count for reader in LIGHT + HEAVY) >= 30_000


@by_file(LIGHT)
def test_some_damage(reader, tmp_path):
    check(reader, tmp_path, 12)


@pytest.mark.slow
@by_file(LIGHT + HEAVY)
def test_much_damage(reader, tmp_path):
    check(reader, tmp_path, reader.count)

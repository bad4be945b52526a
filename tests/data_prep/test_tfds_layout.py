"""What is listed is what tensorflow-datasets itself reads back."""

import io
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import smooth_picture
from PIL import Image

from ccssl_tf.runs.errors import InputError
from data_prep import tfds_layout

OPTIONS = dict(splits=[], image_key=None, label_key=None)


def build(directory, features, examples, file_format="tfrecord", shards=2):
    """Lets TFDS write a data set called `tiny`: split -> list of examples."""
    with tfds.core.registered.skip_registration():

        class Tiny(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")
            code_path = None  # There is no package around it.

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, unused):
                return {split: iter(enumerate(rows)) for split, rows in examples.items()}

            def _generate_examples(self):
                raise NotImplementedError

    Tiny.name = "tiny"
    builder = Tiny(data_dir=directory, file_format=file_format)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=shards))
    return builder


def labelled():
    """Features and examples with pictures of various sizes, two classes, no names."""
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=["no", "yes"]),
    }
    rows = [dict(image=smooth_picture(i, 20 + i, 30), label=i % 2) for i in range(7)]
    return features, {"train": rows[:5], "validation": rows[5:]}


def _pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_images_and_labels(tmp_path, file_format):
    built = build(tmp_path, *labelled(), file_format)
    image_set = tfds_layout.list_images(tfds_layout.find_builder("tiny", str(tmp_path)), **OPTIONS)
    assert list(image_set.splits) == ["train", "val"] and image_set.class_names == ["no", "yes"]
    assert image_set.info == {"tfds_name": "tiny/1.0.0"}
    for ours, theirs in (("train", "train"), ("val", "validation")):
        if file_format == "array_record":
            expected = list(built.as_data_source(split=theirs))
        else:
            expected = list(
                tfds.as_numpy(
                    built.as_dataset(
                        split=theirs, read_config=tfds.ReadConfig(interleave_cycle_length=1)
                    )
                )
            )
        items = image_set.splits[ours]
        assert [item.label for item in items] == [row["label"] for row in expected]
        for item, row in zip(items, expected, strict=True):
            data = image_set.read(item.location)
            assert len(data) == item.size and np.array_equal(_pixels(data), row["image"])
        assert items[0].name == f"{theirs}/00000000".encode()


def test_splits_are_chosen(tmp_path):
    builder = build(tmp_path, *labelled())
    assert list(
        tfds_layout.list_images(builder, **{**OPTIONS, "splits": ["validation"]}).splits
    ) == ["val"]
    with pytest.raises(InputError, match="tiny/1.0.0 has no test, it has train, validation"):
        tfds_layout.list_images(builder, **{**OPTIONS, "splits": ["train", "test"]})


def test_features_are_found_in_dictionaries_by_kind_or_by_flag(tmp_path):
    image, label = tfds.features.Image(shape=(8, 8, 1)), tfds.features.ClassLabel(num_classes=3)
    features = {
        "file_name": tfds.features.Text(),
        "view": {"left": image, "right": image},
        "coarse": label,
        "fine": label,
    }
    grey = [np.full((8, 8, 1), value, np.uint8) for value in (10, 200)]
    row = dict(file_name="a/b.png", view=dict(left=grey[0], right=grey[1]), coarse=1, fine=2)
    builder = build(tmp_path, features, {"train": [row]}, shards=1)
    with pytest.raises(InputError, match="choose one of view/left, view/right by --image_key"):
        tfds_layout.list_images(builder, **OPTIONS)
    with pytest.raises(InputError, match="choose one of coarse, fine by --label_key"):
        tfds_layout.list_images(builder, **{**OPTIONS, "image_key": "view/left"})
    with pytest.raises(
        InputError, match="--image_key=fine: tiny/1.0.0 has view/left, view/right of that kind"
    ):
        tfds_layout.list_images(builder, **{**OPTIONS, "image_key": "fine"})
    image_set = tfds_layout.list_images(
        builder, splits=[], image_key="view/right", label_key="fine"
    )
    (item,) = image_set.splits["train"]
    assert (item.name, item.label, image_set.class_names) == (b"a/b.png", 2, ["0", "1", "2"])
    assert _pixels(image_set.read(item.location)).tolist() == grey[1][..., 0].tolist()


def test_no_labels_and_no_images(tmp_path):
    rows = [dict(image=smooth_picture(i, 9, 9)) for i in range(3)]
    builder = build(tmp_path / "a", {"image": tfds.features.Image()}, {"train": rows})
    image_set = tfds_layout.list_images(builder, **OPTIONS)
    assert image_set.class_names is None and {item.label for item in image_set.splits["train"]} == {
        -1
    }
    builder = build(tmp_path / "b", {"x": tfds.features.Text()}, {"train": [dict(x="y")]}, shards=1)
    with pytest.raises(InputError, match="none of its features is an image: x"):
        tfds_layout.list_images(builder, **OPTIONS)
    pixels = np.zeros((4, 4, 1), np.float32)
    features = {"image": tfds.features.Image(shape=(4, 4, 1), dtype=np.float32)}
    builder = build(tmp_path / "c", features, {"train": [dict(image=pixels)]}, shards=1)
    with pytest.raises(InputError, match="its images are float32"):
        tfds_layout.list_images(builder, **OPTIONS)


def test_unknown_and_damaged_data_sets_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such data set"):
        tfds_layout.find_builder("no_such_set_of_images", str(tmp_path))
    builder = build(tmp_path, *labelled())
    path = sorted(builder.data_path.glob("*train*tfrecord*"))[0]
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match="truncated at byte"):
        tfds_layout.list_images(builder, **OPTIONS)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="images of train instead of 5"):
        tfds_layout.list_images(builder, **OPTIONS)


def test_one_changed_byte_is_told_and_all_of_them_are(tmp_path):
    builder = build(tmp_path, *labelled())
    paths = sorted(builder.data_path.glob("*train*tfrecord*"))
    for path in paths:
        data = bytearray(path.read_bytes())
        at = data.index(b"label") + 11  # The number itself: the example stays well-formed.
        data[at] ^= 1
        path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        tfds_layout.list_images(builder, **OPTIONS)
    assert f"{len(paths)} faults" in str(caught.value)
    for path in paths:
        assert f"{path}: damaged at byte " in str(caught.value)


def test_a_record_changed_after_the_listing_is_not_converted(tmp_path):
    builder = build(tmp_path, *labelled())
    image_set = tfds_layout.list_images(builder, **OPTIONS)
    item = image_set.splits["train"][0]
    path, offset, *_ = item.location
    data = bytearray(pathlib.Path(path).read_bytes())
    data[offset + 20] ^= 4
    pathlib.Path(path).write_bytes(data)
    with pytest.raises(InputError, match=f"damaged at byte {offset - 12}"):
        image_set.read(item.location)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\xfe"])
def test_without_its_description_a_data_set_is_refused_in_one_line(tmp_path, content):
    builder = build(tmp_path, *labelled())
    path = builder.data_path / "dataset_info.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        tfds_layout.find_builder("tiny", str(tmp_path))
    assert "\n" not in str(caught.value) and "tiny" in str(caught.value)


def test_labels_that_are_whole_numbers(tmp_path):
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.Scalar(np.int64),
        "size": tfds.features.Scalar(np.int64),
    }
    labels = [2, -1, 0]
    rows = [
        dict(image=smooth_picture(i, 9, 9), label=label, size=5) for i, label in enumerate(labels)
    ]
    builder = build(tmp_path, features, {"train": rows}, shards=1)
    image_set = tfds_layout.list_images(builder, **OPTIONS)
    assert image_set.class_names == ["0", "1", "2"]
    assert sorted(item.label for item in image_set.splits["train"]) == sorted(labels)
    image_set = tfds_layout.list_images(builder, **{**OPTIONS, "label_key": "size"})
    assert {item.label for item in image_set.splits["train"]} == {5}


def test_labels_that_the_description_does_not_know(tmp_path):
    """All of them are told; -1, as unlabelled splits have, is none."""
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=["no", "yes", "so"]),
    }
    rows = [dict(image=smooth_picture(i, 9, 9), label=label) for i, label in enumerate((2, -1, 2))]
    builder = build(tmp_path, features, {"train": rows}, shards=1)
    image_set = tfds_layout.list_images(builder, **OPTIONS)
    assert sorted(item.label for item in image_set.splits["train"]) == [-1, 2, 2]
    path = builder.data_path / "features.json"
    path.write_text(path.read_text().replace('"numClasses": "3"', '"numClasses": "2"'))
    (builder.data_path / "label.labels.txt").write_text("no\nyes\n")
    with pytest.raises(InputError, match="2 faults: .*record at .*: label 2, there are 2 classes"):
        tfds_layout.list_images(tfds_layout.find_builder("tiny", str(tmp_path)), **OPTIONS)

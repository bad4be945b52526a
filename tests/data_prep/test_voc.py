"""The command, from tars to records that TFDS opens."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ccssl_tf.data import records, voc_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.settings import fields_of
from data_prep import voc, voc_layout
from data_prep.voc_xml import CLASSES


def _read(directory, split):
    for shard in Manifest.read(directory, "images").shards(split):
        for serialized in records.read_shard(directory / shard.name):
            yield voc_records.parse_voc_image(serialized)


def _through_tfds(directory, split):
    builder = tfds.builder_from_directory(str(directory))
    assert builder.info.supervised_keys is None
    return [
        {key.removeprefix("image/"): value for key, value in example.items()}
        for example in tfds.as_numpy(builder.as_dataset(split=split))
    ]


@pytest.fixture(scope="module")
def detection_dir(commands, tmp_path_factory, module_devkit):
    source, out = (
        module_devkit.write_tars(tmp_path_factory.mktemp("voc") / "tars"),
        tmp_path_factory.mktemp("voc_out") / "out",
    )
    output, _ = commands.run(
        "voc", f"--source={source}", "--year=2007", f"--output_dir={out}", "--num_workers=2"
    )
    assert "2 train, 2 val, 4 trainval, 2 test images, 20 classes" in output
    return out


@pytest.fixture(scope="module")
def module_devkit(voc_devkit_class):
    return voc_devkit_class()


def test_boxes_come_back_as_in_the_xml(detection_dir, module_devkit):
    seen = 0
    for parsed in _read(detection_dir, "trainval"):
        name = parsed["filename"].numpy().decode()
        root = ET.fromstring(module_devkit.files[f"Annotations/{name[:-4]}.xml"])
        expected = [
            [int(found.find(f"bndbox/{corner}").text) for corner in voc_records.CORNERS]
            for found in root.findall("object")
        ]
        np.testing.assert_array_equal(
            voc_records.pixel_boxes(parsed["boxes"], parsed["height"], parsed["width"]), expected
        )
        assert [CLASSES[label] for label in parsed["labels"]] == [
            found.find("name").text for found in root.findall("object")
        ]
        assert parsed["difficult"].numpy().tolist() == [
            found.find("difficult").text == "1" for found in root.findall("object")
        ]
        assert parsed["truncated"].numpy().tolist() == [
            found.find("truncated").text == "1" for found in root.findall("object")
        ]
        assert parsed["encoded"] == module_devkit.files[f"JPEGImages/{name}"]
        seen += 1
    assert seen == 4


def test_tfds_reads_the_same(detection_dir):
    found = {image["filename"]: image for image in _through_tfds(detection_dir, "trainval")}
    for parsed in _read(detection_dir, "trainval"):
        image = found.pop(parsed["filename"].numpy())
        assert image["encoded"].shape == (17, 23, 3) and image["class/label"] == -1
        corners = np.stack(
            [image[f"object/bbox/{corner}"] for corner in voc_records.CORNERS], axis=-1
        )
        np.testing.assert_array_equal(corners, parsed["boxes"])
        np.testing.assert_array_equal(image["object/class/label"], parsed["labels"])
        np.testing.assert_array_equal(image["object/difficult"], parsed["difficult"])
        np.testing.assert_array_equal(image["class/presence"], parsed["presence"])
        assert [CLASSES[label].encode() for label in parsed["labels"]] == image[
            "object/class/text"
        ].tolist()
    assert not found


def test_masks_come_back_as_their_indices(commands, tmp_path, voc_devkit):
    source, out = voc_devkit.write_tree(tmp_path / "tree"), tmp_path / "out"
    commands.run(
        "voc",
        f"--source={source}",
        "--task=segmentation",
        "--splits=val",
        "--splits=test",
        f"--output_dir={out}",
    )
    assert sorted(Manifest.read(out, "images").splits) == ["test", "val"]
    by_tfds = {
        image["filename"]: image["segmentation/class/encoded"]
        for image in _through_tfds(out, "val")
    }
    for parsed in _read(out, "val"):
        pixels = voc_devkit.mask_pixels(int(parsed["filename"].numpy()[:-4]))
        np.testing.assert_array_equal(voc_records.decode_mask(parsed["mask"]), pixels)
        np.testing.assert_array_equal(by_tfds.pop(parsed["filename"].numpy())[..., 0], pixels)
    assert not by_tfds


def test_what_is_refused_leaves_nothing_behind(commands, tmp_path, voc_devkit):
    out = tmp_path / "out"
    source = voc_devkit.write_tree(tmp_path / "tree")
    flags = ("voc", f"--source={source}", f"--output_dir={out}")
    commands.run(*flags, "--resize_short_side=256", code=1)
    commands.run(*flags, "--year=2012", code=2)
    commands.run(*flags, f"--sbd={tmp_path}", code=1)
    commands.run(*flags, f"--val_list={tmp_path}", code=1)
    commands.run(*flags, "--splits=all", code=1)
    voc_devkit.files["Annotations/000004.xml"] = b'<!DOCTYPE a [<!ENTITY b "c">]><annotation/>'
    voc_devkit.write_tree(tmp_path / "tree")
    _, errors = commands.run(*flags, code=2)
    assert errors.count("\n") == 1 and "000004.xml" in errors
    assert not out.exists()


def test_every_split_can_be_named():
    choices = {f.name: f.facts.choices for f in fields_of(voc.VocSettings)}
    assert choices["splits"] == voc_layout.SPLITS


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(resize_short_side=256), "--resize_short_side: "),
        (dict(sbd="a"), "--sbd: "),
        (dict(val_list="a"), "--val_list: "),
        (dict(sbd="a", task="segmentation", splits=("val",)), "--sbd: "),
        (dict(splits=("all",)), "--splits=all: "),
        (dict(year=2006), "--year=2006: "),
        (dict(beam_options=("a",)), "--beam_options: "),
    ],
)
def test_settings_that_can_never_be_right(fields, message):
    with pytest.raises(FlagError, match=f"^{message}"):
        voc.VocSettings(source="a", output_dir="b", **fields)

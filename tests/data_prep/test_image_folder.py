import os

import numpy as np
import pytest
from PIL import Image

from ccssl_tf.data import image_list
from ccssl_tf.data.manifest import Manifest


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """520 small noisy JPEGs, some of other kinds, three of them broken; names that are no text."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(520):
        name = os.fsencode(root) + (b"/%03d\xff\n.jpg" % i if i == 7 else b"/%03d.jpg" % i)
        pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        with open(name, "wb") as file:
            Image.fromarray(pixels).save(file, "PNG" if i % 100 == 3 else "JPEG")
    for i, data in ((5, b""), (77, b"<html>"), (400, (root / "400.jpg").read_bytes()[:300])):
        (root / f"{i:03}.jpg").write_bytes(data)
    return root


def test_bad_images_are_named_and_left_out(commands, photos, tmp_path):
    flags = ("image_folder", f"--source={photos}", "--val_fraction=0", "--num_workers=1")
    out = tmp_path / "out"
    _, errors = commands.run(*flags, f"--output_dir={out}", "--max_bad_images=0", code=2)
    assert (
        errors.count("\n") == 1
        and "bad image" in errors
        and any(name in errors for name in ("005.jpg", "077.jpg", "400.jpg"))
    )
    assert not (out / "manifest.json").exists() and not (out / "DONE").exists()
    output, _ = commands.run(*flags, f"--output_dir={out}")
    assert "left out 3 bad images" in output
    lines = (out / "bad_images.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["005.jpg", "077.jpg", "400.jpg"]
    manifest = Manifest.read(out, "images")
    assert manifest.num_examples("train") == 517
    assert manifest.info["bad_images"] == 3 and manifest.info["reencoded"] == {"png": 6, "total": 6}
    records = list(commands.records(out, "train"))
    assert [record["image/index"] for record in records] == list(range(517))
    assert {record["image/class/label"] for record in records} == {-1}
    assert b"007\xff\n.jpg" in {record["image/filename"] for record in records}
    for record in records:
        if (
            record["image/filename"] != b"007\xff\n.jpg"
            and int(record["image/filename"][:3]) % 100 != 3
        ):
            assert (
                record["image/encoded"] == (photos / record["image/filename"].decode()).read_bytes()
            )
    listed = list(image_list.read(out))
    assert [int(row[0]) for row in listed] == list(range(517))
    assert {(row[2], row[3], row[4]) for row in listed} == {("train", "-1", "")}
    assert [image_list.filename_of(row[1]) for row in listed] == [
        record["image/filename"] for record in records
    ]
    # Made in one go, by more processes: the same bytes.
    commands.run(
        *flags[:-1], f"--output_dir={tmp_path / 'again'}", "--max_bad_images=9", "--num_workers=2"
    )
    assert commands.content(tmp_path / "again") == commands.content(out)
    import tensorflow_datasets as tfds

    labels = [
        x["image/class/label"]
        for x in tfds.as_numpy(tfds.builder_from_directory(out).as_dataset(split="train"))
    ]
    assert labels == [-1] * 517


def test_a_list_chooses_and_labels(commands, photos, tmp_path):
    names = ["010.jpg", "020.jpg", "030.jpg"]
    (tmp_path / "list.csv").write_text(
        "filename,label\n" + "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(names))
    )
    flags = (
        "image_folder",
        f"--source={photos}",
        "--val_fraction=0",
        "--num_workers=1",
        f"--list={tmp_path / 'list.csv'}",
    )
    commands.run(*flags, f"--output_dir={tmp_path / 'out'}")
    found = {
        record["image/filename"]: record["image/class/text"]
        for record in commands.records(tmp_path / "out", "train")
    }
    assert found == {b"010.jpg": b"a", b"020.jpg": b"b", b"030.jpg": b"a"}
    with open(tmp_path / "list.csv", "a") as file:
        file.write("none.jpg,a\n")
    _, errors = commands.run(*flags, f"--output_dir={tmp_path / 'other'}", code=2)
    assert (
        "none.jpg (line 5)" in errors
        and errors.count("\n") == 1
        and not (tmp_path / "other").exists()
    )

"""The command on a data set that tensorflow-datasets has written, against what it reads back."""

import io

import numpy as np
import tensorflow_datasets as tfds
from conftest import smooth_picture
from PIL import Image


def _write(directory):
    """Writes `tiny/1.0.0` as TFDS itself lays it out; no code of the data set is needed
    to read it.
    """
    with tfds.core.registered.skip_registration():

        class Tiny(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")
            name = "tiny"
            code_path = None  # There is no package around it.

            def _info(self):
                features = {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=["no", "yes"]),
                }
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, unused):
                return {
                    "train": self._generate_examples(range(8)),
                    "test": self._generate_examples(range(8, 11)),
                }

            def _generate_examples(self, numbers):
                for i in numbers:
                    yield i, dict(image=smooth_picture(i, 20 + i, 30), label=i % 2)

    builder = Tiny(data_dir=directory)
    builder.download_and_prepare()
    return builder


def test_the_command(commands, tmp_path):
    builder, out = _write(tmp_path / "tfds"), tmp_path / "out"
    flags = (
        "tfds_import",
        f"--tfds_data_dir={tmp_path / 'tfds'}",
        f"--output_dir={out}",
        "--num_workers=1",
    )
    _, errors = commands.run(*flags, "--name=no_such_data_set", code=2)
    assert "no such data set" in errors and errors.count("\n") == 1
    commands.run(*flags, code=1)
    output, _ = commands.run(*flags, "--name=tiny", "--dry_run")
    assert "8 train, 3 test images, 2 classes" in output and not out.exists()
    output, _ = commands.run(*flags, "--name=tiny")
    assert "re-encoded 11 images at quality 95 (png 11)" in output
    for split in ("train", "test"):
        expected = {
            row["image"].shape[0]: row for row in tfds.as_numpy(builder.as_dataset(split=split))
        }
        found = list(commands.records(out, split))
        assert sorted(record["image/height"] for record in found) == sorted(expected)
        for record in found:
            row = expected[record["image/height"]]
            assert (
                record["image/class/label"] == row["label"]
                and record["image/class/text"] == (b"no", b"yes")[row["label"]]
            )
            pixels = np.asarray(Image.open(io.BytesIO(record["image/encoded"])), np.int64)
            assert np.abs(pixels - row["image"]).mean() < 4
        again = tfds.as_numpy(tfds.builder_from_directory(out).as_dataset(split=split))
        labels = {row["image/height"]: row["image/class/label"] for row in again}
        assert labels == {height: row["label"] for height, row in expected.items()}

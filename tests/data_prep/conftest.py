"""Runs the conversion commands as a user does; each start of TensorFlow in a worker costs seconds,
so what they make is shared.
"""

import hashlib
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from voc_devkit import VocDevkit

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
        housekeeping = {"run.json", "DONE", "flags.txt", "timing.json", "digests.json"}
        housekeeping |= {".lock", ".holder"}
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

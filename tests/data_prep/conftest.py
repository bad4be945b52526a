"""Runs the conversion commands as a user does; each start of TensorFlow in a worker costs seconds, so what they make is shared."""

import hashlib
import pathlib
import resource
import subprocess
import sys

import pytest

from ccssl_tf.data.manifest import Manifest

ROOT = pathlib.Path(__file__).parents[2]


class Commands:
    """The converters' command lines."""

    SHAPES = ("shapes", "--num_train=750", "--num_val=20", "--image_size=24")

    @staticmethod
    def start(module, *flags):
        """Starts `python -m data_prep.MODULE`."""
        command = [sys.executable, "-m", f"data_prep.{module}", *map(str, flags)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @classmethod
    def run(cls, module, *flags, code=0, most_cpu_seconds=None):
        """Runs it to its end; returns what it printed and what it complained about.

        Args:
          code: the exit code it must have.
          most_cpu_seconds: it may use; wall-clock time would tell how busy the machine is.
        """
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = cls.start(module, *flags)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == code, (output, errors)
        assert "Traceback" not in errors
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if most_cpu_seconds:
            assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < most_cpu_seconds
        return output, errors

    @staticmethod
    def content(directory):
        """Returns name -> digest of every file that others read."""
        own = {"run.json", "DONE", "flags.txt", "timing.json", ".lock"}
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir() if path.name not in own}

    @staticmethod
    def records(directory, split):
        """Yields every image record of a split, in order, as key -> value."""
        import tensorflow as tf

        for shard in Manifest.read(directory, "images").shards(split):
            for serialized in tf.data.TFRecordDataset(str(directory / shard.name)).as_numpy_iterator():
                features = tf.train.Example.FromString(serialized).features.feature
                yield {key: (value.bytes_list.value or value.int64_list.value)[0] for key, value in features.items()}


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

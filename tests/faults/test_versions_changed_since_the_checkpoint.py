"""A checkpoint says which TensorFlow, Keras and ccssl_tf wrote it: another version is warned of,
another major one refused.
"""

import pathlib
import shutil
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

import ccssl_tf
from ccssl_tf.runs.errors import CorruptArtifactError
from ccssl_tf.training.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).parents[2]


def checkpoints_of(directory):
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3)])
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    return Checkpoints(directory, model, optimizer, dict(data="a"))


def major_and_rest(version):
    major, _, rest = version.partition(".")
    return int(major), rest


@pytest.mark.parametrize("module, name", [(tf, "tensorflow"), (keras, "keras")])
def test_another_version_is_warned_of_and_another_major_one_refused(
    tmp_path, monkeypatch, capsys, module, name
):
    checkpoints_of(tmp_path).save(dict(steps=[0]))
    written = module.__version__
    major, rest = major_and_rest(written)
    checkpoints_of(tmp_path).restore()
    assert "warning" not in capsys.readouterr().out
    monkeypatch.setattr(module, "__version__", f"{major}.999.0")
    assert checkpoints_of(tmp_path).restore() == dict(steps=[0])
    (line,) = capsys.readouterr().out.splitlines()
    assert f"written with {name} {written}, this is {major}.999.0" in line
    monkeypatch.setattr(module, "__version__", f"{major + 1}.{rest}")
    with pytest.raises(CorruptArtifactError, match=f"written with {name} {written}, this is"):
        checkpoints_of(tmp_path).restore()


def test_the_command_ends_with_3_and_the_checkpoint_stays(image_dir, tmp_path):
    """As if this program had been followed by its next major version."""
    script = (
        "import sys, ccssl_tf\n"
        "if len(sys.argv) > 1 and sys.argv[1].startswith('version='):\n"
        "    ccssl_tf.__version__ = sys.argv.pop(1).partition('=')[2]\n"
        "from ccssl_tf import train\n"
        "from ccssl_tf.runs.launch import launch\n"
        "launch(train.COMMAND, train.main)\n"
    )
    workdir = tmp_path / "run"
    words = ["--task=rotation", f"--data_dir={image_dir}", f"--workdir={workdir}"]
    words += ["--image_size=32", "--width_multiplier=0.1", "--batch_size=16", "--train_steps=2"]

    def command(*more):
        return subprocess.run(
            [sys.executable, "-c", script, *more, *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=1200,
        )

    assert command().returncode == 0
    for name in ("DONE", "digests.json"):
        (workdir / name).unlink()  # As killed after its last checkpoint.
    before = {path.name: path.read_bytes() for path in (workdir / "checkpoints").iterdir()}
    major, rest = major_and_rest(ccssl_tf.__version__)
    refused = command(f"version={major + 1}.{rest}")
    assert refused.returncode == 3, refused.stderr
    assert refused.stderr.count("\n") == 1 and f"ccssl_tf {ccssl_tf.__version__}" in refused.stderr
    assert before == {path.name: path.read_bytes() for path in (workdir / "checkpoints").iterdir()}
    shutil.copytree(workdir, tmp_path / "copy")
    warned = command(f"version={major}.999")
    assert warned.returncode == 0 and "warning: " in warned.stdout, warned.stderr

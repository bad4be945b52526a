"""A checkpoint says which TensorFlow, Keras and ccssl_tf wrote it: another version is warned of,
another major one refused.
"""

import keras
import pytest
import tensorflow as tf

import ccssl_tf
from ccssl_tf import train
from ccssl_tf.runs.errors import CorruptArtifactError
from ccssl_tf.runs.launch import run_command
from ccssl_tf.training.checkpoints import Checkpoints


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


def test_the_command_ends_with_3_and_the_checkpoint_stays(image_dir, tmp_path, monkeypatch, capsys):
    """As if this program had been followed by its next major version."""
    workdir = tmp_path / "run"
    words = ["--task=rotation", f"--data_dir={image_dir}", f"--workdir={workdir}"]
    words += ["--image_size=32", "--width_multiplier=0.1", "--batch_size=16", "--train_steps=2"]
    assert run_command(train.COMMAND, train.main, words) == 0
    for name in ("DONE", "digests.json"):
        (workdir / name).unlink()  # As killed after its last checkpoint.
    before = {path.name: path.read_bytes() for path in (workdir / "checkpoints").iterdir()}
    written = ccssl_tf.__version__
    major, rest = major_and_rest(written)
    capsys.readouterr()
    monkeypatch.setattr(ccssl_tf, "__version__", f"{major + 1}.{rest}")
    assert run_command(train.COMMAND, train.main, words) == 3
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"written with ccssl_tf {written}, this is" in line
    assert before == {path.name: path.read_bytes() for path in (workdir / "checkpoints").iterdir()}
    monkeypatch.setattr(ccssl_tf, "__version__", f"{major}.999")
    assert run_command(train.COMMAND, train.main, words) == 0
    assert f"warning: {workdir}/checkpoints: the checkpoint was written" in capsys.readouterr().out

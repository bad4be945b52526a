"""The command: what it refuses, says and leaves; what is in a SavedModel is tested in test_exported."""

import json

import pytest
from absl.testing import flagsaver

from ccssl_tf import export as export_cli
from ccssl_tf.errors import FlagError, InputError
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone import save_backbone


@pytest.fixture
def run(tmp_path):
    """A finished run with a tiny backbone."""
    path = tmp_path / "run"
    path.mkdir()
    save_backbone(AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.05, fc_units=(), image_size=32), path)
    (path / "flags.txt").write_text("--image_size=32\n")
    (path / "run.json").write_text(json.dumps(dict(command=["ccssl_tf.train"], inputs={})))
    (path / "DONE").write_text("{}")
    return path


def test_both_directories_are_needed(run):
    with flagsaver.flagsaver(run=str(run)), pytest.raises(FlagError, match="set --run and --output_dir"):
        export_cli.main()


def test_a_dry_run_tells_and_writes_nothing(run, tmp_path, capsys):
    with flagsaver.flagsaver(run=str(run), output_dir=str(tmp_path / "out"), dry_run=True):
        export_cli.main()
    assert "would export conv1, conv2, conv3, conv4, conv5 of" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_finished_export_is_left_alone_and_other_directories_are_refused(run, tmp_path, capsys):
    with flagsaver.flagsaver(run=str(run), output_dir=str(tmp_path / "out")):
        export_cli.main()
        written = (tmp_path / "out" / "export.json").stat().st_mtime_ns
        assert "saved" in capsys.readouterr().out
        export_cli.main()
    assert "already complete" in capsys.readouterr().out
    assert (tmp_path / "out" / "export.json").stat().st_mtime_ns == written
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("")
    with pytest.raises(InputError, match="already holds something else"):
        export_cli.export(run, tmp_path / "other")

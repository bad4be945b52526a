"""The command that measures the statistics of batch normalisation anew."""

import json

from ccssl_tf import calibrate, load_backbone
from ccssl_tf.runs.launch import run_command


def command(*arguments):
    return run_command(calibrate.COMMAND, calibrate.main, list(arguments))


def test_a_calibrated_network_is_a_backbone_of_its_own(image_dir, tmp_path, capsys):
    arguments = [
        f"--data_dir={image_dir}", "--backbone=alexnet", "--width_multiplier=0.1",
        "--image_size=32", "--batch_size=8",
    ]  # fmt: skip
    out = tmp_path / "random_calibrated"
    assert command(*arguments, f"--workdir={out}", "--dry_run") == 0
    assert not out.exists()
    assert command(*arguments, f"--workdir={out}") == 0
    assert command(*arguments, f"--workdir={out}") == 0
    assert "already complete" in capsys.readouterr().out
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["num_batch_normalizations"] == 5 and metrics["num_images"] >= 8
    again = tmp_path / "again"
    start = [f"--init_backbone={out}", f"--data_dir={image_dir}", "--image_size=32"]
    assert command(*start, "--batch_size=8", f"--workdir={again}") == 0
    # The kernels and the images are the same, so are the statistics.
    assert load_backbone(again).architecture() == load_backbone(out).architecture()
    second = json.loads((again / "metrics.json").read_text())
    assert second["backbone_fingerprint"] == metrics["backbone_fingerprint"]


def test_networks_without_batch_normalisation_are_refused(image_dir, tmp_path, capsys):
    arguments = [f"--data_dir={image_dir}", "--image_size=32", "--normalization=none"]
    assert command(*arguments, f"--workdir={tmp_path / 'w'}") == 2
    assert "has no batch normalisation" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()

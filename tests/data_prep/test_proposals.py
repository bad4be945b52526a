"""The command, over converted images."""

import importlib.util
import json
import time

import numpy as np
import pytest

from ccssl_tf.data import proposal_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import FlagError
from data_prep.proposals import ProposalsSettings

needs_opencv = pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="OpenCV's contrib modules are not installed"
)


def _fingerprint(directory, split):
    return Manifest.read(directory, "images").fingerprint(split)


def test_precomputed_boxes_are_tied_to_their_images(commands, textured_dir, tmp_path):
    boxes = {f"{number:06d}": [[1, 1, number + 1, 2]] * number for number in range(12)}
    source, out = tmp_path / "boxes.json", tmp_path / "out"
    source.write_text(json.dumps(boxes))
    flags = (
        "proposals",
        f"--data_dir={textured_dir}",
        "--method=precomputed",
        f"--source={source}",
        f"--output_dir={out}",
    )
    output, _ = commands.run(*flags, "--dry_run", without=["tensorflow"])
    assert "13 images (test, trainval)" in output and not out.exists()
    output, _ = commands.run(*flags, "--max_proposals=5", "--num_workers=2")
    assert "8 for 2 test images, 41 for 11 trainval images" in output
    found = proposal_records.read_proposals(out, "test", _fingerprint(textured_dir, "test"))
    assert [one.tolist() for one in found] == [[[1, 1, 12, 2]] * 5, [[1, 1, 4, 2]] * 3]
    info = Manifest.read(out, "proposals").info
    assert info["method"] == "precomputed" and info["images_fingerprint"][
        "trainval"
    ] == _fingerprint(textured_dir, "trainval")
    output, _ = commands.run(*flags, "--max_proposals=5")
    assert "already complete" in output
    output, _ = commands.run("verify", f"--data_dir={out}")
    assert "whole: 2 test, 11 trainval" in output
    for more in ((), ("--dry_run",)):
        _, errors = commands.run(*flags, "--max_proposals=6", *more, code=2)
        assert "--max_proposals=5" in errors
    source.write_text(
        json.dumps({name: found for name, found in boxes.items() if name != "000007"})
    )
    _, errors = commands.run(*flags[:-1], f"--output_dir={tmp_path / 'other'}", code=2)
    assert errors.count("\n") == 1 and "no boxes of 000007.jpg" in errors


def test_a_file_for_each_split_and_images_without_boxes(commands, textured_dir, tmp_path):
    boxes = {f"{number:06d}": [[1, 1, number + 1, 2]] * number for number in range(12)}
    files = [tmp_path / "trainval.json", tmp_path / "test.json"]
    files[0].write_text(json.dumps({name: boxes[name] for name in list(boxes)[:11]}))
    files[1].write_text(json.dumps({name: boxes[name] for name in ("000011", "000003")}))
    flags = ("proposals", f"--data_dir={textured_dir}", "--method=precomputed")
    _, errors = commands.run(
        *flags, f"--source={files[0]}", f"--output_dir={tmp_path / 'one'}", code=2
    )
    assert errors.count("\n") == 1 and "no boxes of 000011.jpg" in errors
    sources = [f"--source={path}" for path in files]
    output, _ = commands.run(*flags, *sources, f"--output_dir={tmp_path / 'out'}")
    # Image 0 has no boxes.
    assert "1 images without boxes got one, the whole image" in output
    out = tmp_path / "out"
    found = proposal_records.read_proposals(out, "trainval", _fingerprint(textured_dir, "trainval"))
    assert [one.tolist() for one in found] == [[[1, 1, 60, 50]]] + [
        boxes[f"{number:06d}"] for number in range(1, 11)
    ]
    found = proposal_records.read_proposals(out, "test", _fingerprint(textured_dir, "test"))
    assert [len(one) for one in found] == [11, 3]


def test_all_faults_of_boxes_are_told_and_nothing_is_written(commands, textured_dir, tmp_path):
    boxes = {f"{number:06d}": [[1, 1, number + 1, 2]] for number in range(12)}
    del boxes["000004"]
    boxes["000005"], boxes["000006"] = [[9, 9, 1, 1]], [[1, 1, 1000, 2]]
    source, out = tmp_path / "boxes.json", tmp_path / "out"
    source.write_text(json.dumps(boxes))
    _, errors = commands.run(
        *("proposals", f"--data_dir={textured_dir}", "--method=precomputed"),
        *(f"--source={source}", f"--output_dir={out}"),
        code=2,
    )
    assert errors.count("\n") == 1 and "3 faults" in errors
    for name in ("000004.jpg", "000005", "000006"):
        assert name in errors
    assert not list(out.glob("*.tfrecord"))


def test_flags_that_cannot_be_meant(commands, textured_dir, tmp_path):
    flags = ("proposals", f"--data_dir={textured_dir}", f"--output_dir={tmp_path / 'out'}")
    commands.run("proposals", f"--data_dir={textured_dir}", code=1)
    commands.run(*flags, "--method=precomputed", code=1)
    commands.run(*flags, "--source=a.mat", code=1)
    commands.run("proposals", f"--data_dir={textured_dir}", f"--output_dir={textured_dir}", code=2)
    commands.run(*flags, "--method=precomputed", f"--source={tmp_path / 'none.mat'}", code=2)
    assert not (tmp_path / "out").exists()


@needs_opencv
def test_selective_search_killed_and_continued(commands, textured_dir, tmp_path):
    flags = ("proposals", f"--data_dir={textured_dir}", "--num_workers=1")
    commands.run(*flags, f"--output_dir={tmp_path / 'whole'}")
    out = tmp_path / "out"
    process = commands.start(*flags, f"--output_dir={out}")
    while process.poll() is None and not list(out.glob("searched/*.npy")):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    commands.run(*flags, f"--output_dir={out}")
    assert commands.content(out) == commands.content(tmp_path / "whole")
    assert not (out / "searched").exists()
    by_split = {
        split: proposal_records.read_proposals(out, split, _fingerprint(textured_dir, split))
        for split in ("test", "trainval")
    }
    np.testing.assert_array_equal(by_split["test"][1], by_split["trainval"][3])
    assert min(map(len, by_split["trainval"])) >= 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(source=("a.mat",)), "--source: "),
        (dict(method="precomputed"), "--source: "),
        (dict(max_proposals=0), "--max_proposals=0: "),
        (dict(min_box_side=0), "--min_box_side=0: "),
        (dict(mode="slow"), "--mode=slow: "),
    ],
)
def test_settings_that_can_never_be_right(fields, message):
    with pytest.raises(FlagError, match=f"^{message}"):
        ProposalsSettings(data_dir="a", output_dir="b", **fields)

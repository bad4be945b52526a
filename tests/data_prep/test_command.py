"""What every converter's command line shares."""

import pytest
from PIL import Image


def test_a_finished_directory_is_left_alone(commands, shapes_dir):
    before = commands.content(shapes_dir)
    output, _ = commands.run(
        *commands.SHAPES, f"--output_dir={shapes_dir}", "--num_workers=1", most_cpu_seconds=2
    )
    assert output == f"{shapes_dir}: already complete\n"
    assert commands.content(shapes_dir) == before
    assert not list(shapes_dir.glob("*.tfrecord.json")) and not list(shapes_dir.glob("*.tmp-*"))
    _, errors = commands.run(*commands.SHAPES, f"--output_dir={shapes_dir}", "--seed=1", code=2)
    assert errors.count("\n") == 1 and "--seed=0" in errors


def test_refusals_leave_nothing_behind(commands, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(10):
        Image.new("RGB", (8, 8)).save(photos / f"{i}.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    out = tmp_path / "out"
    cases = [
        (
            (f"--source={tmp_path / 'nothing'}", f"--output_dir={out}"),
            2,
            "no such file or directory",
        ),
        ((f"--source={tmp_path / 'empty'}", f"--output_dir={out}"), 2, "holds no images"),
        ((f"--source={photos}", f"--output_dir={photos / 'out'}"), 2, "lies inside"),
        (
            (f"--source={photos}", f"--output_dir={tmp_path / 'mine'}"),
            2,
            "already holds something else",
        ),
        ((f"--source={photos}", f"--output_dir={tmp_path / 'file'}"), 2, "is a file"),
        (
            (f"--source={photos}", f"--output_dir={out}", "--labels=folders"),
            2,
            "lies in no class folder",
        ),
        ((f"--source={photos}",), 1, "--output_dir"),
        ((f"--output_dir={out}",), 1, "--source"),
        ((f"--source={photos}", f"--output_dir={out}", "--val_fraction=2"), 1, "val_fraction"),
        ((f"--source={photos}", f"--output_dir={out}", "stray"), 1, "stray"),
    ]
    for flags, code, message in cases:
        output, errors = commands.run("image_folder", *flags, code=code, most_cpu_seconds=3)
        assert message in errors and errors.count("\n") == 1, (flags, errors)
    assert not out.exists() and not (photos / "out").exists()
    output, _ = commands.run(
        "image_folder", f"--source={photos}", f"--output_dir={out}", "--dry_run"
    )
    assert "9 train, 1 val images" in output and "nothing written" in output
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("x")
    _, errors = commands.run(
        "image_folder", f"--source={photos}", f"--output_dir={out}", "--dry_run", code=2
    )
    assert "already holds something else (mine.txt)" in errors


@pytest.mark.parametrize("module", ["shapes", "image_folder", "imagenet"])
def test_help_answers_at_once(commands, module):
    output, _ = commands.run(module, "--help", most_cpu_seconds=2)
    assert f"python -m data_prep.{module}" in output and "--resize_short_side" in output

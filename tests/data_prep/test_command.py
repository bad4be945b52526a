"""What every converter's command line shares."""

import dataclasses
import importlib

import pytest
from PIL import Image

from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.values import Values, read
from data_prep import command, drawing
from data_prep.command import ConverterSettings
from data_prep.image_set import ImageSet, Item

CONVERTERS = ("image_folder", "imagenet", "places", "voc", "tfds_import", "shapes")
MODULES = (*CONVERTERS, "proposals", "verify")


def test_a_finished_directory_is_left_alone(commands, shapes_dir):
    before = commands.content(shapes_dir)
    output, _ = commands.run(
        *commands.SHAPES, f"--output_dir={shapes_dir}", "--num_workers=1", without=["tensorflow"]
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
        output, errors = commands.run("image_folder", *flags, code=code, without=["tensorflow"])
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


@pytest.mark.parametrize("module", MODULES)
def test_help_answers_at_once(commands, module):
    output, _ = commands.run(module, "--help", without=["numpy", "PIL", "tensorflow"])
    assert f"python -m data_prep.{module}" in output and "--num_workers" in output
    assert ("--resize_short_side" in output) == (module in CONVERTERS)


@pytest.mark.parametrize("module", MODULES)
def test_a_command_is_a_function_of_its_settings(module):
    command = importlib.import_module(f"data_prep.{module}").COMMAND
    assert command.module == f"data_prep.{module}"
    (cls,) = command.settings
    assert issubclass(cls, ConverterSettings) == (module in CONVERTERS)
    required = {
        field.name: "x" for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING
    }
    values = command.parse([f"--{name}={value}" for name, value in required.items()])
    assert values[cls] == cls(**required)
    with pytest.raises(FlagError, match="|".join(f"--{name}" for name in required)):
        command.parse([])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(resize_short_side=-1), "--resize_short_side=-1: "),
        (dict(max_bad_images=-1), "--max_bad_images=-1: "),
        (dict(max_pixels=0), "--max_pixels=0: "),
        (dict(min_side=0), "--min_side=0: "),
        (dict(num_workers=-1), "--num_workers=-1: "),
        (dict(seed=-1), "--seed=-1: "),
        (dict(runner="slurm"), "--runner=slurm: "),
        (dict(beam_options=("a=1",)), "--beam_options: "),
        (dict(beam_options="a=1", runner="beam"), "--beam_options="),
    ],
)
def test_settings_that_can_never_be_right(fields, message):
    with pytest.raises(FlagError, match=f"^{message}"):
        ConverterSettings(output_dir="out", **fields)


def test_beams_options_go_with_beam():
    values = read(
        [ConverterSettings], ["--output_dir=a", "--runner=beam", "--beam_options=b=1,c=2"]
    )
    assert values[ConverterSettings].beam_options == ("b=1", "c=2")


def test_an_image_set_is_converted_by_a_program(tmp_path):
    items = [Item(b"%d.jpg" % i, -1, 400, (0, "train", i, 16)) for i in range(3)]
    image_set = ImageSet({"train": items}, None, "test", drawing.draw)
    settings = ConverterSettings(output_dir=str(tmp_path / "out"), num_workers=1)
    values = Values("data_prep.test", [settings])
    command.run(values, lambda: image_set, inputs={"list": None}, options={"a": 1})
    manifest = Manifest.read(tmp_path / "out", "images")
    assert manifest.num_examples("train") == 3 and manifest.info["options"]["a"] == 1
    command.run(values, lambda: pytest.fail("listed again"), inputs={})
    other = Values("data_prep.test", [dataclasses.replace(settings, seed=1)])
    with pytest.raises(InputError, match="--seed=0"):
        command.run(other, lambda: image_set, inputs={})

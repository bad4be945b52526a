"""Beam runs the same conversion: the same files, one line for what goes wrong. Most of it needs the
extra `beam`.
"""

import importlib.util
import multiprocessing
import signal
import time

import pytest
from PIL import Image

from ccssl_tf.runs.errors import FlagError, ResourceError
from data_prep import beam_pipeline, locations, worker_pool
from data_prep.decoding import DecodeOptions
from data_prep.image_set import Item
from data_prep.shard_worker import ShardTask

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="apache-beam is not installed"
)


def test_flags_that_do_not_fit_are_refused(commands, tmp_path, monkeypatch):
    out = tmp_path / "out"
    _, errors = commands.run(
        *commands.SHAPES, f"--output_dir={out}", "--beam_options=direct_num_workers=2", code=1
    )
    assert "--runner=beam" in errors and errors.count("\n") == 1
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FlagError, match=r"pip install 'ccssl_tf\[beam\]'"):
        beam_pipeline.require_beam()
    assert not out.exists()


@needs_beam
def test_the_files_are_those_of_the_local_runner(commands, shapes_dir, tmp_path):
    out = tmp_path / "out"
    output, errors = commands.run(*commands.SHAPES, f"--output_dir={out}", "--runner=beam")
    assert (
        errors == "" and "in a Beam pipeline" in output and "converting  770/770 images" in output
    )
    assert commands.content(out) == commands.content(shapes_dir)


@needs_beam
@pytest.mark.slow
def test_processes_of_beams_own_write_the_same(commands, shapes_dir, tmp_path):
    out = tmp_path / "out"
    options = "--beam_options=direct_num_workers=2,direct_running_mode=multi_processing"
    commands.run(*commands.SHAPES, f"--output_dir={out}", "--runner=beam", options)
    assert commands.content(out) == commands.content(shapes_dir)


@needs_beam
def test_stopped_under_beam_and_continued_without(commands, shapes_dir, tmp_path):
    out = tmp_path / "out"
    process = commands.start(*commands.SHAPES, f"--output_dir={out}", "--runner=beam")
    while process.poll() is None and not list(out.glob("*.tfrecord.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.count("\n")) == (75, 1), errors
    output, _ = commands.run(*commands.SHAPES, f"--output_dir={out}", "--num_workers=1")
    assert "continuing: " in output and commands.content(out) == commands.content(shapes_dir)


@needs_beam
def test_bad_images_and_bad_options_are_one_line(commands, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        Image.new("RGB", (8, 8)).save(photos / f"{i}.jpg")
    flags = "image_folder", f"--source={photos}", "--val_fraction=0", "--runner=beam"
    _, errors = commands.run(
        *flags, f"--output_dir={tmp_path / 'a'}", "--beam_options=runner=NoSuchRunner", code=4
    )
    assert errors.count("\n") == 1 and "NoSuchRunner" in errors
    (photos / "3.jpg").write_bytes(b"no image")
    _, errors = commands.run(*flags, f"--output_dir={tmp_path / 'b'}", code=2)
    assert errors.count("\n") == 1 and "3.jpg" in errors
    output, _ = commands.run(*flags, f"--output_dir={tmp_path / 'b'}", "--max_bad_images=1")
    assert "3 train images" in output


@needs_beam
def test_a_shard_that_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "0.jpg"
    Image.new("RGB", (8, 8)).save(path)
    item = Item(b"0.jpg", -1, path.stat().st_size, (str(path), 0, None))
    target = tmp_path / "nowhere" / "train-00000-of-00001.tfrecord"
    task = ShardTask(target, [item], 0, locations.read_location, None, DecodeOptions())
    counter = multiprocessing.get_context("spawn").Value("q", 0)
    with pytest.raises(ResourceError, match="nowhere"), worker_pool.open_pool(1, counter) as pool:
        pool.submit(beam_pipeline.convert_shards, [task], []).result()

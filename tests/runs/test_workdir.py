"""Work directories: tied to flags and inputs, held by one process, finished by DONE alone."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
from absl import flags

from ccssl_tf.runs import launch
from ccssl_tf.runs import workdir as workdir_lib
from ccssl_tf.runs.errors import CorruptArtifactError, FlagError, InputError
from ccssl_tf.runs.files import write_json
from ccssl_tf.runs.workdir import (
    Workdir,
    command_has_started,
    command_is_done,
    input_fingerprint,
    read_flags,
)

ROOT = pathlib.Path(__file__).parents[2]

# Holds or takes a work directory; the flags of the real module are enough.
HOLDER = """
import sys, time
from ccssl_tf.runs.workdir import Workdir

def main():
    with Workdir(DIRECTORY, inputs={}) as workdir:
        print("holding", flush=True)
        if WAIT:
            time.sleep(60)

DIRECTORY, WAIT = sys.argv[1], len(sys.argv) > 2
sys.argv = sys.argv[:1]
launch.launch(main, "Holds a directory.")
"""


class SampleFlags:
    """Flags of an imaginary command, parsed from a list of arguments."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch

    def parse(self, *arguments):
        values = flags.FlagValues()
        flags.DEFINE_bool("flip", True, "", flag_values=values)
        flags.DEFINE_bool("normal", False, "", flag_values=values)
        flags.DEFINE_list("names", ["a", "b"], "", flag_values=values)
        flags.DEFINE_multi_string("also", None, "", flag_values=values)
        flags.DEFINE_integer("size", 3, "", flag_values=values)
        flags.DEFINE_float("rate", 0.1, "", flag_values=values)
        flags.DEFINE_string("title", "two words # no comment", "", flag_values=values)
        flags.DEFINE_string("teacher", None, "", flag_values=values)
        flags.DEFINE_string("workdir", None, "", flag_values=values)
        flags.DEFINE_integer("num_workers", 1, "", flag_values=values)
        flags.DEFINE_bool("dry_run", False, "", flag_values=values)
        defined = [values[name] for name in values]
        values(["program", *arguments])
        self._monkeypatch.setattr(launch, "command_flags", lambda: {"this command": defined})
        return values.flag_values_dict()


@pytest.fixture
def sample_flags(monkeypatch):
    sample = SampleFlags(monkeypatch)
    sample.parse()
    return sample


def run(path, **inputs):
    """A run that has written something."""
    with Workdir(path, inputs=inputs) as workdir:
        (workdir.path / "output").touch()
        return workdir


ARGUMENTS = [
    "--noflip",
    "--normal",
    "--names=x,y z,it's",
    "--also=p q",
    "--also=r=s",
    "--size=-4",
    "--rate=1e-07",
    '--title= "quoted" = # ',
    "--num_workers=7",
]


@pytest.mark.parametrize("arguments", [[], ARGUMENTS], ids=["defaults", "all set"])
def test_flags_txt_is_a_flagfile_of_the_same_flags(tmp_path, sample_flags, arguments):
    before = sample_flags.parse(*arguments)
    run(tmp_path / "out")
    text = (tmp_path / "out" / "flags.txt").read_text()
    assert "teacher" not in text and "dry_run" not in text
    after = sample_flags.parse(f"--flagfile={tmp_path / 'out' / 'flags.txt'}")
    before["title"] = before["title"].rstrip()
    assert after == before


def test_the_same_flags_continue(tmp_path, sample_flags):
    for _ in range(3):
        sample_flags.parse(*ARGUMENTS)
        run(tmp_path / "out")


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        (["--size=3"], ["--size=4"], "--size=3, not --size=4"),
        (["--flip"], ["--noflip"], "--flip, not --noflip"),
        (["--normal"], [], "--normal, not --nonormal"),
        ([], ["--names=b,a"], "--names=a,b, not --names=b,a"),
        (["--also=a"], ["--also=a", "--also=b"], "--also=a"),
        (["--also=a", "--also=b"], ["--also=b"], "--also=a"),
        ([], ["--teacher=x"], "--teacher=x"),
        (["--teacher=x"], [], "--teacher=x"),
        (["--also=a", "--also=b"], [], "--also=a"),
    ],
)
def test_another_flag_value_is_refused(tmp_path, sample_flags, first, second, named):
    sample_flags.parse(*first)
    run(tmp_path / "out")
    before = (tmp_path / "out" / "flags.txt").read_text()
    sample_flags.parse(*second)
    with pytest.raises(InputError) as caught:
        run(tmp_path / "out")
    assert named in str(caught.value) and str(tmp_path / "out") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "out" / "flags.txt").read_text() == before
    sample_flags.parse(*first)
    run(tmp_path / "out")


def test_a_dry_run_refuses_what_a_run_would_and_writes_nothing(tmp_path, sample_flags):
    Workdir(tmp_path / "out", inputs={}).check()
    assert not (tmp_path / "out").exists()
    sample_flags.parse("--size=3")
    run(tmp_path / "out")
    held = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    Workdir(tmp_path / "out", inputs={}).check()
    sample_flags.parse("--size=4")
    with pytest.raises(InputError, match="--size=3, not --size=4"):
        Workdir(tmp_path / "out", inputs={}).check()
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == held


def test_flags_of_place_and_speed_are_free(tmp_path, sample_flags):
    sample_flags.parse("--num_workers=1")
    run(tmp_path / "out")
    sample_flags.parse("--num_workers=4", f"--workdir={tmp_path / 'out'}")
    run(tmp_path / "out")
    assert read_flags(tmp_path / "out")["num_workers"] == "4"


def test_flags_that_a_newer_program_adds_are_free(tmp_path, sample_flags):
    run(tmp_path / "out")
    path = tmp_path / "out" / "flags.txt"
    path.write_text(
        "".join(line for line in path.read_text().splitlines(True) if "rate" not in line)
        + "--gone=4\n"
    )
    run(tmp_path / "out")


def test_read_flags(tmp_path, sample_flags):
    sample_flags.parse("--noflip", "--size=9", "--teacher=x=y")
    run(tmp_path / "out")
    found = read_flags(tmp_path / "out")
    assert found["flip"] == "false" and found["normal"] == "false"
    assert found["size"] == "9" and found["teacher"] == "x=y" and found["names"] == "a,b"
    assert read_flags(tmp_path) == {}


def make_input(path, text="one"):
    path.mkdir(exist_ok=True)
    (path / "file.txt").write_text(text)
    return path


def test_a_run_that_has_written_nothing_may_start_again_with_other_flags(tmp_path, sample_flags):
    with Workdir(tmp_path / "out", inputs={}):
        pass
    sample_flags.parse("--size=4")
    with Workdir(tmp_path / "out", inputs={}) as workdir:
        assert "--size=4" in (workdir.path / "flags.txt").read_text()


def test_changed_inputs_are_refused_with_both_fingerprints(tmp_path, sample_flags):
    source = make_input(tmp_path / "source")
    run(tmp_path / "out", data_dir=source)
    before = input_fingerprint(source)
    run(tmp_path / "out", data_dir=source)
    make_input(source, "longer")
    after = input_fingerprint(source)
    with pytest.raises(InputError, match="--data_dir") as caught:
        run(tmp_path / "out", data_dir=source)
    assert before != after
    assert before[:12] in str(caught.value) and after[:12] in str(caught.value)
    with pytest.raises(InputError, match="nothing"):
        run(tmp_path / "out")


def test_input_fingerprints(tmp_path):
    directory = make_input(tmp_path / "a")
    (directory / "below").mkdir()
    (directory / "below" / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(b"x")
    plain = input_fingerprint(directory)
    assert plain == input_fingerprint(str(directory))
    (directory / "file.txt").rename(directory / "renamed.txt")
    renamed = input_fingerprint(directory)
    os.utime(directory / "renamed.txt", (1, 1))
    touched = input_fingerprint(directory)
    assert len({plain, renamed, touched}) == 3
    file = input_fingerprint(directory / "renamed.txt")
    (directory / "renamed.txt").write_text("other text")
    assert input_fingerprint(directory / "renamed.txt") != file
    for name in ("backbone.json", "manifest.json"):
        write_json(directory / name, dict(fingerprint=f"of {name}"))
        assert input_fingerprint(directory) == f"of {name}"
    assert input_fingerprint(directory / "backbone.keras") == "of backbone.json"
    for junk in ("[]", "{", '{"other": 1}', "\udcff"):
        (directory / "manifest.json").write_bytes(os.fsencode(junk))
        # A user's folder may hold a manifest.json of its own.
        assert input_fingerprint(directory) == "of backbone.json"
    with pytest.raises(InputError, match="no such file"):
        input_fingerprint(tmp_path / "none")


def test_missing_input_makes_no_directory(tmp_path, sample_flags):
    with pytest.raises(InputError, match="none: no such"):
        run(tmp_path / "out", data_dir=tmp_path / "none")
    assert not (tmp_path / "out").exists()


def test_a_foreign_directory_is_refused_and_left_alone(tmp_path, sample_flags):
    directory = make_input(tmp_path / "photos")
    with pytest.raises(InputError, match="already holds something else .file.txt"):
        run(directory)
    assert os.listdir(directory) == ["file.txt"]


@pytest.mark.parametrize("below", ["", "below", "below/deeper"])
def test_a_file_is_no_directory(tmp_path, sample_flags, below):
    (tmp_path / "file").write_text("text")
    # The second is a one-line error with code 2 of its own.
    with pytest.raises((InputError, NotADirectoryError), match="file"):
        run(tmp_path / "file" / below if below else tmp_path / "file")


def test_no_directory_is_refused():
    with pytest.raises(FlagError, match="--workdir"):
        Workdir(None, inputs={})


@pytest.mark.parametrize("junk", ["", "{", "[]", '{"inputs": 3}'])
def test_a_damaged_record_is_refused(tmp_path, sample_flags, junk):
    run(tmp_path / "out")
    (tmp_path / "out" / "run.json").write_text(junk)
    with pytest.raises(CorruptArtifactError, match="run.json"):
        run(tmp_path / "out")


def test_leftovers_of_killed_writers_are_swept(tmp_path, sample_flags):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "flags.txt.tmp-1-abc.txt").write_text("half")
    (tmp_path / "out" / "saved_model.tmp-1-abc").mkdir()
    run(tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == [".lock", "flags.txt", "output", "run.json"]


def test_done_is_last_and_says_what_was_read(tmp_path, sample_flags, monkeypatch):
    source = make_input(tmp_path / "source")
    written = []
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda old, new: (replace(old, new), written.append(os.path.basename(new)))
    )
    with Workdir(tmp_path / "out", inputs=dict(data_dir=source, teacher=None)) as workdir:
        assert not workdir.is_done
        workdir.finish(metrics=dict(accuracy=0.5), timing=dict(images_per_second=3.0))
        assert workdir.is_done
    assert written == ["flags.txt", "run.json", "metrics.json", "timing.json", "DONE"]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == dict(accuracy=0.5)
    timing = json.loads((tmp_path / "out" / "timing.json").read_text())
    assert timing["images_per_second"] == 3.0 and 0 <= timing["seconds"] < 10
    done = json.loads((tmp_path / "out" / "DONE").read_text())
    assert done["inputs"] == dict(
        data_dir=dict(path=str(source), fingerprint=input_fingerprint(source))
    )


def test_a_run_that_fails_in_its_metrics_is_not_done(tmp_path, sample_flags):
    with Workdir(tmp_path / "out", inputs={}) as workdir:
        with pytest.raises(TypeError):
            workdir.finish(metrics=dict(accuracy=object()))
        assert not workdir.is_done


def test_commands_are_done_until_their_inputs_change(tmp_path, sample_flags, monkeypatch):
    source = make_input(tmp_path / "source")
    command = ["ccssl_tf.extract", f"--data_dir={source}"]
    monkeypatch.setattr(workdir_lib, "_module_name", lambda: command[0])
    monkeypatch.setattr(sys, "argv", ["program", *command[1:]])
    out = tmp_path / "out"
    assert not command_is_done(out, command) and not command_has_started(out, command)
    with Workdir(out, inputs=dict(data_dir=source)) as workdir:
        assert command_has_started(out, command) and not command_is_done(out, command)
        workdir.finish(metrics={})
    assert command_is_done(out, command)
    assert not command_is_done(out, [*command, "--seed=1"])
    assert command_is_done(out, [*command, "--num_workers=3", "--checkpoint_steps=9"]), (
        "place and speed are free"
    )
    assert not command_is_done(out, [*command, "--flagfile=other.flags"])
    make_input(source, "changed")
    assert not command_is_done(out, command) and not command_has_started(out, command)
    (source / "file.txt").unlink()
    source.rmdir()
    assert not command_is_done(out, command)
    (out / "DONE").write_text("[1]")
    assert not command_is_done(out, command)


def test_set_aside_keeps_what_was_there(tmp_path, sample_flags):
    for number in (1, 2):
        run(tmp_path / "out")
        assert workdir_lib.set_aside(tmp_path / "out") == tmp_path / f"out.old-{number}"
        assert not (tmp_path / "out").exists()
        assert (tmp_path / f"out.old-{number}" / "run.json").is_file()


def test_commands_are_printed_as_typed():
    assert (
        workdir_lib.format_command(["ccssl_tf.train", "--title=a b"])
        == "python -m ccssl_tf.train '--title=a b'"
    )


def start_holder(directory, *more):
    command = [sys.executable, "-c", HOLDER, str(directory), *more]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_never_share_a_directory_and_a_killed_one_frees_it(tmp_path):
    first = start_holder(tmp_path / "out", "wait")
    try:
        assert first.stdout.readline() == "holding\n"
        second = start_holder(tmp_path / "out")
        out, err = second.communicate(timeout=60)
        assert (second.returncode, out) == (2, "")
        assert err.count("\n") == 1
        assert (
            f"process {first.pid} on {socket.gethostname()}" in err and str(tmp_path / "out") in err
        )
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=60)
    third = start_holder(tmp_path / "out")
    out, err = third.communicate(timeout=60)
    assert (third.returncode, out, err) == (0, "holding\n", "")

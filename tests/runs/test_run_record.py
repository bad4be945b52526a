"""What a directory says of its run: digests of inputs, its flags, which command it was."""

import os

import pytest

from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import write_json
from ccssl_tf.runs.run_record import (
    command_has_started,
    command_is_done,
    flag_lines,
    format_command,
    input_fingerprint,
    read_flags,
    read_record,
)


def make_input(path, text="one"):
    path.mkdir(exist_ok=True)
    (path / "file.txt").write_text(text)
    return path


def test_fingerprints_of_trees_deeper_than_pythons_stack(deep_tree):
    without_file = input_fingerprint(deep_tree.root)
    deep_tree.file.write_bytes(b"deep")
    assert without_file != input_fingerprint(deep_tree.root)


def test_fingerprints_of_links_that_lead_nowhere(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nothing")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "up").symlink_to("..")
    both = input_fingerprint(tmp_path)
    (tmp_path / "loop").unlink()
    assert both != input_fingerprint(tmp_path)


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


def test_flags_are_read_by_name(tmp_path):
    assert read_flags(tmp_path) == {} and flag_lines(tmp_path) == []
    (tmp_path / "flags.txt").write_text(
        "--flip\n--nonormal\n--size=9\n--teacher=x=y\n--names=a,b\n--title= a b\n"
    )
    assert read_flags(tmp_path) == dict(
        flip="true", normal="false", size="9", teacher="x=y", names="a,b", title=" a b"
    )
    assert flag_lines(tmp_path)[:2] == ["--flip", "--nonormal"]
    (tmp_path / "flags.txt").write_bytes(b"--title=\xff\n")
    with pytest.raises(CorruptArtifactError, match=r"flags.txt: damaged .*utf-8"):
        read_flags(tmp_path)
    write_json(tmp_path / "run.json", dict(command=[], inputs={}, flags=["--size=3"]))
    assert read_flags(tmp_path) == dict(size="3")


def write_run(directory, command, *, name="run.json", **inputs):
    directory.mkdir(exist_ok=True)
    records = {
        flag: dict(path=str(path), fingerprint=input_fingerprint(path))
        for flag, path in inputs.items()
    }
    write_json(directory / name, dict(command=command, inputs=records))


def test_commands_are_done_until_their_inputs_change(tmp_path):
    source = make_input(tmp_path / "source")
    command = ["ccssl_tf.extract", f"--data_dir={source}", "--nodetail"]
    out = tmp_path / "out"
    assert not command_is_done(out, command) and not command_has_started(out, command)
    write_run(out, command, data_dir=source)
    assert command_has_started(out, command) and not command_is_done(out, command)
    write_run(out, command, name="DONE", data_dir=source)
    assert command_is_done(out, command)
    assert not command_is_done(out, [*command, "--seed=1"])
    assert not command_is_done(out, ["ccssl_tf.train", *command[1:]])
    place_and_speed = ["--num_workers=3", "--checkpoint_steps=9", "--workdir=x", "--strategy=one"]
    assert command_is_done(out, [*command, *place_and_speed])
    # A flagfile may hold anything.
    assert not command_is_done(out, [*command, "--flagfile=other.flags"])
    make_input(source, "changed")
    assert not command_is_done(out, command) and not command_has_started(out, command)
    (source / "file.txt").unlink()
    source.rmdir()
    assert not command_is_done(out, command)
    for junk in ("[1]", "{", "", '{"command": 3, "inputs": {}}'):
        (out / "DONE").write_text(junk)
        assert not command_is_done(out, command)


@pytest.mark.parametrize("junk", ["", "{", "[]", "3", '{"inputs": {}}', '{"inputs": 3}', "\udcff"])
def test_a_damaged_record_is_refused(tmp_path, junk):
    (tmp_path / "run.json").write_bytes(os.fsencode(junk))
    with pytest.raises(CorruptArtifactError, match="run.json: damaged"):
        read_record(tmp_path / "run.json")
    with pytest.raises(CorruptArtifactError, match="none.json: is missing"):
        read_record(tmp_path / "none.json")


def test_the_inputs_of_a_record(tmp_path):
    path = tmp_path / "run.json"
    write_run(tmp_path, ["ccssl_tf.x"], data_dir=make_input(tmp_path / "source"))
    record = read_record(path)
    (source,) = record["inputs"].values()
    assert source["fingerprint"] == input_fingerprint(tmp_path / "source")
    for damaged in (dict(data_dir=3), dict(data_dir=dict(path="x"))):
        write_json(path, dict(record, inputs=damaged))
        with pytest.raises(CorruptArtifactError, match="run.json: damaged .inputs.data_dir"):
            read_record(path)


def test_commands_are_printed_as_typed():
    typed = format_command(["ccssl_tf.train", "--title=a b"])
    assert typed == "python -m ccssl_tf.train '--title=a b'"

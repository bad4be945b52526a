"""`digests.json` has every file of a directory, and tells what changed in it."""

import os

import pytest

from ccssl_tf.data.manifest import Manifest, Shard
from ccssl_tf.runs.digests import Digests, write_digests
from ccssl_tf.runs.errors import CorruptArtifactError
from ccssl_tf.runs.files import file_sha256


@pytest.fixture
def directory(tmp_path):
    """Files, one of them with a name that is not UTF-8; locks, a half file, another run below."""
    directory = tmp_path / "out"
    for name in ("a.txt", "below/b.txt", "other/run.json", "other/c.txt", "run.json", "DONE"):
        (directory / name).parent.mkdir(exist_ok=True, parents=True)
        (directory / name).write_text(name)
    (directory / "DONE").write_text("run.json")
    (directory / os.fsdecode(b"\xff.txt")).write_text("odd")
    for name in (".lock", ".holder", "a.txt.tmp-12-0123abcd.txt", "x.tfrecord.json"):
        (directory / name).write_text("passing")
    write_digests(directory, ["*.tfrecord.json"])
    (directory / "x.tfrecord.json").unlink()
    return directory


def test_every_file_is_in_it(directory):
    digests = Digests(directory)
    odd = os.fsdecode(b"\xff.txt")
    assert digests.names == {"a.txt", "below/b.txt", odd, "run.json", "DONE"}
    assert digests.faults() == [] and digests.not_judged() == []
    digests.refuse_damage("a.txt", "what is not there")


def test_what_changed_is_told(directory):
    (directory / "a.txt").write_text("A.txt")
    (directory / "below/b.txt").unlink()
    (directory / "DONE").write_text("run.jsom")
    (directory / "new").touch()
    digests = Digests(directory)
    changed = "its content is not what was written; it was edited or damaged"
    faults = [f"DONE: {changed}", f"a.txt: {changed}", "below/b.txt: is missing"]
    assert digests.faults() == faults and digests.not_judged() == ["new"]
    assert digests.faults(besides={"DONE", "a.txt"}) == faults[2:]
    with pytest.raises(CorruptArtifactError, match="a.txt: its content is not"):
        digests.refuse_damage("a.txt")


def test_shards_are_not_read_again(tmp_path):
    path = tmp_path / "train-00000-of-00001.tfrecord"
    path.write_bytes(b"records")
    shard = Shard(path.name, 1, 7, "0" * 64)
    Manifest("images", dict(train=[shard]), {}).write(tmp_path)
    write_digests(tmp_path)
    assert Digests(tmp_path).fault(path.name)  # The manifest's digest, which is wrong here.
    Manifest("images", dict(train=[Shard(path.name, 1, 7, file_sha256(path))]), {}).write(tmp_path)
    write_digests(tmp_path)
    assert Digests(tmp_path).faults() == []
    (tmp_path / "manifest.json").write_text("mine")
    write_digests(tmp_path)
    assert Digests(tmp_path).names == {path.name, "manifest.json"}


def test_without_it_nothing_is_judged_and_a_damaged_one_is_refused(directory):
    (directory / "digests.json").write_text('{"files": {"a.txt": 3}}')
    with pytest.raises(CorruptArtifactError, match=r"digests.json: damaged .files.a.txt holds 3"):
        Digests(directory)
    (directory / "digests.json").unlink()
    digests = Digests(directory)
    assert not digests.are_there and digests.faults() == []
    assert "a.txt" in digests.not_judged()

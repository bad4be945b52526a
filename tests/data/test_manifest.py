"""Writing is whole or not at all; a manifest is trusted only as far as it agrees with itself and
its shards.
"""

import errno
import hashlib
import json
import os
import subprocess
import sys

import pytest
from conftest import write_images

from ccssl_tf.data.manifest import Manifest, Shard, shard_name
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import (
    atomic_directory,
    atomic_file,
    file_sha256,
    fingerprint_of,
    sweep_temporary_files,
)


def test_atomic_file_replaces_only_on_success(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_file(path) as temporary:
        assert (
            temporary.parent == path.parent
            and temporary.suffix == ".txt"
            and ".tmp-" in temporary.name
        )
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    for error in (RuntimeError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), atomic_file(path) as temporary:
            temporary.write_text("half")
            raise error
        assert path.read_text() == "one" and os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(FileNotFoundError), atomic_file(path):
        pass
    assert path.read_text() == "one"


def test_a_full_disk_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one")
    with pytest.raises(OSError) as caught, atomic_file(path) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("two")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
    assert path.read_text() == "one" and os.listdir(tmp_path) == ["a.txt"]


def test_a_file_size_limit_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("one")
    script = (
        "import resource, sys; from ccssl_tf.data import manifest; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: manifest.write_json(sys.argv[1], list(range(10000)))\n"
        "except OSError as error: sys.exit(error.errno)"
    )
    finished = subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60)
    assert finished.returncode == errno.EFBIG
    assert path.read_text() == "one" and os.listdir(tmp_path) == ["a.json"]


def test_atomic_directory(tmp_path):
    path = tmp_path / "model"
    for text in ("one", "two"):
        with atomic_directory(path) as temporary:
            (temporary / "variables").mkdir(parents=True)
            (temporary / "variables" / "data").write_text(text)
        assert (path / "variables" / "data").read_text() == text
    with pytest.raises(RuntimeError), atomic_directory(path) as temporary:
        temporary.mkdir()
        (temporary / "half").write_text("half")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["model"] and os.listdir(path) == ["variables"]


def test_sweeping_takes_temporary_names_only(tmp_path):
    for name in ("a.txt", "tmp", "b.tmp"):
        (tmp_path / name).write_text("kept")
    (tmp_path / "a.txt.tmp-12-ab.txt").write_text("x")
    (tmp_path / "d.tmp-12-ab").mkdir()
    (tmp_path / "d.tmp-12-ab" / "x").write_text("x")
    (tmp_path / "l.tmp-1-a").symlink_to(tmp_path / "a.txt")
    sweep_temporary_files(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.tmp", "tmp"]


def test_fingerprints():
    assert fingerprint_of({"a": 1, "b": [2, None]}) == fingerprint_of({"b": [2, None], "a": 1})
    assert fingerprint_of({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    assert fingerprint_of([1, 2]) != fingerprint_of([2, 1])


def test_file_sha256(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(256)) * 1000)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(bytes(range(256)) * 1000).hexdigest()


def test_shard_names():
    assert shard_name("train", 7, 128) == "train-00007-of-00128.tfrecord"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished data set of 5 + 4 training and 3 validation images."""
    directory = tmp_path_factory.mktemp("manifest") / "data"
    write_images(directory, {"train": [5, 4], "val": [3]})
    return directory


@pytest.fixture
def data(source, tmp_path):
    """A copy that may be damaged."""
    directory = tmp_path / "data"
    directory.mkdir()
    for file in source.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    return directory


def test_round_trip(data):
    manifest = Manifest.read(data, "images")
    assert manifest.num_examples("train") == 9 and manifest.num_examples("val") == 3
    assert [shard.name for shard in manifest.shards("train")] == [
        shard_name("train", shard, 2) for shard in range(2)
    ]
    for shard in manifest.shards("train") + manifest.shards("val"):
        content = (data / shard.name).read_bytes()
        assert (shard.num_bytes, shard.sha256) == (
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
    assert json.loads((data / "manifest.json").read_text())["fingerprint"] == manifest.fingerprint()
    before = (data / "manifest.json").read_bytes()
    manifest.write(data)
    assert (data / "manifest.json").read_bytes() == before
    with pytest.raises(InputError, match="no split 'test' in these images: there are train, val"):
        manifest.shards("test")


def test_fingerprints_follow_content():
    shards = [Shard("a", 2, 10, "11"), Shard("b", 3, 10, "22")]
    base = Manifest("images", {"train": shards, "val": shards[:1]}, dict(source="x"))
    same = Manifest("images", {"val": shards[:1], "train": shards}, dict(source="x"))
    assert base.fingerprint() == same.fingerprint()
    others = [
        Manifest("features", base.splits, base.info),
        Manifest("images", {"train": shards[::-1], "val": shards[:1]}, base.info),
        Manifest("images", {"train": shards}, base.info),
        Manifest("images", base.splits, dict(source="y")),
    ]
    assert len({base.fingerprint(), *(other.fingerprint() for other in others)}) == 5
    # The fingerprint of a split is that of its content alone.
    assert (
        base.fingerprint("train")
        == others[3].fingerprint("train")
        != others[1].fingerprint("train")
    )


def edit(directory, change):
    raw = json.loads((directory / "manifest.json").read_text())
    change(raw)
    (directory / "manifest.json").write_text(json.dumps(raw))


EDITS = {
    "count": lambda raw: raw["splits"]["train"][0].update(num_examples=4),
    "size": lambda raw: raw["splits"]["train"][0].update(num_bytes=4),
    "digest": lambda raw: raw["splits"]["train"][0].update(sha256="0" * 64),
    "name": lambda raw: raw["splits"]["train"][0].update(name="other.tfrecord"),
    "order": lambda raw: raw["splits"]["train"].reverse(),
    "split left out": lambda raw: raw["splits"].pop("val"),
    "classes": lambda raw: raw["info"].update(class_names=["a", "b", "c"]),
    "kind": lambda raw: raw.update(kind="features"),
    "no kind": lambda raw: raw.pop("kind"),
    "unknown field": lambda raw: raw["splits"]["train"][0].update(color="red"),
    "field left out": lambda raw: raw["splits"]["train"][0].pop("num_bytes"),
    "shards no list": lambda raw: raw["splits"].update(train=3),
    "splits no dict": lambda raw: raw.update(splits=[]),
}


@pytest.mark.parametrize("change", EDITS.values(), ids=EDITS)
def test_an_edited_manifest_is_refused(data, change):
    edit(data, change)
    with pytest.raises(
        CorruptArtifactError, match=r"manifest\.json: (not a manifest|its content does not match)"
    ) as caught:
        Manifest.read(data, "images")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "junk", [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b'{"schema_version": 1}']
)
def test_junk_is_no_manifest(data, junk):
    (data / "manifest.json").write_bytes(junk)
    with pytest.raises(CorruptArtifactError, match="manifest.json"):
        Manifest.read(data, "images")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version_is_refused(data, version):
    edit(data, lambda raw: raw.update(schema_version=version))
    with pytest.raises(
        CorruptArtifactError, match=f"schema version {version}, this program reads 1"
    ):
        Manifest.read(data, "images")


def test_another_kind_is_refused(data):
    with pytest.raises(InputError, match="holds images, not features"):
        Manifest.read(data, "features")


def test_missing_and_cut_shards_are_refused(data):
    shard = data / shard_name("train", 1, 2)
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(
        CorruptArtifactError,
        match=rf"{shard.name}: has {len(content) - 1} bytes instead of {len(content)}",
    ):
        Manifest.read(data, "images")
    shard.unlink()
    with pytest.raises(CorruptArtifactError, match=f"{shard.name}: is missing"):
        Manifest.read(data, "images")


def test_missing_directory_and_unfinished_directory(data, tmp_path):
    with pytest.raises(InputError, match="no such directory"):
        Manifest.read(tmp_path / "none", "images")
    with pytest.raises(InputError, match="no such directory"):
        Manifest.read(data / "manifest.json" / "below", "images")
    (data / "manifest.json").unlink()
    with pytest.raises(CorruptArtifactError, match="has not finished"):
        Manifest.read(data, "images")

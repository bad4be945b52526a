"""A manifest is trusted only as far as it agrees with itself and its shards."""

import hashlib
import json

import pytest
from conftest import write_images

from ccssl_tf.data.manifest import Manifest, Shard, shard_name
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


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
        CorruptArtifactError, match=r"manifest\.json: (damaged|its content does not match)"
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
        CorruptArtifactError, match=f"schema version {version!r}, this program reads 1"
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

"""An archive that claims to unpack to far more than it is, is refused before it is unpacked."""

import zipfile

import pytest

from ccssl_tf.data.archives import open_zip
from ccssl_tf.runs.errors import CorruptArtifactError


def _zip(path, megabytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a", b"\0" * (megabytes << 20))
    return path


def test_a_hidden_member_is_told(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"made here"
        archive.writestr("a", b"1")
        archive.writestr("b", b"2")
    assert open_zip(path, 10, "fetch it").namelist() == ["a", "b"]
    content = path.read_bytes()
    length = content.index(b"PK\1\2") + 32  # Of the first member's comment.
    path.write_bytes(content[: length + 1] + b"\1" + content[length + 2 :])
    assert zipfile.ZipFile(path).namelist() == ["a"]
    with pytest.raises(zipfile.BadZipFile, match="1 members, where its end tells of 2"):
        open_zip(path, 10, "fetch it")


def test_a_renamed_member_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("names", b"1")
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b"names1", b"named1"))
    with pytest.raises(zipfile.BadZipFile, match="names"):
        open_zip(tmp_path / "a.zip", 10, "fetch it")


def test_sizes_decide(tmp_path):
    with open_zip(_zip(tmp_path / "a.zip", 65), 1000, "fetch it") as archive:
        assert archive.namelist() == ["a"]
    with open_zip(_zip(tmp_path / "small.zip", 8), 10, "fetch it") as archive:
        assert archive.namelist() == ["a"]
    message = "a.zip: unpacks to 65 MiB from 0.3, more than 10 times as much; fetch it"
    with pytest.raises(CorruptArtifactError, match=message):
        open_zip(tmp_path / "a.zip", 10, "fetch it")

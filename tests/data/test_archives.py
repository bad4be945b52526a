"""An archive that claims to unpack to far more than it is, is refused before it is unpacked."""

import zipfile

import pytest

from ccssl_tf.data.archives import open_zip
from ccssl_tf.runs.errors import CorruptArtifactError


def _zip(path, megabytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a", b"\0" * (megabytes << 20))
    return path


def test_sizes_decide(tmp_path):
    with open_zip(_zip(tmp_path / "a.zip", 65), 1000, "fetch it") as archive:
        assert archive.namelist() == ["a"]
    with open_zip(_zip(tmp_path / "small.zip", 8), 10, "fetch it") as archive:
        assert archive.namelist() == ["a"]
    message = "a.zip: unpacks to 65 MiB from 0.3, more than 10 times as much; fetch it"
    with pytest.raises(CorruptArtifactError, match=message):
        open_zip(tmp_path / "a.zip", 10, "fetch it")

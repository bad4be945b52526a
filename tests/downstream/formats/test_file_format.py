"""The digest of what was written follows from names and contents alone."""

import hashlib

from ccssl_tf.downstream.formats import FORMATS
from ccssl_tf.downstream.formats.file_format import digest


def test_digests_of_files_and_directories(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert digest(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    digests = []
    for name, order in (("one", "xy"), ("two", "yx")):
        (tmp_path / name / "variables").mkdir(parents=True)
        for file in order:
            (tmp_path / name / "variables" / file).write_text(file)
        digests.append(digest(tmp_path / name))
    assert digests[0] == digests[1]
    (tmp_path / "two" / "variables" / "x").rename(tmp_path / "two" / "x")
    assert digest(tmp_path / "two") != digests[0]


def test_formats_are_called_what_they_are():
    assert [format.name for format in FORMATS.values()] == list(FORMATS)
    assert len({format.file_name for format in FORMATS.values()}) == len(FORMATS)

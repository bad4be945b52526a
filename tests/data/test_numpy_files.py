"""Arrays come back as numpy.load gives them; a header that tells anything else than the bytes that
follow is refused before memory is asked for.
"""

import numpy as np
import pytest

from ccssl_tf.data.numpy_files import ArrayArchive, read_array
from ccssl_tf.runs.errors import CcsslError, CorruptArtifactError, InputError

ARRAYS = dict(
    rows=np.arange(12, dtype=np.float32).reshape(3, 4),
    columns=np.asfortranarray(np.arange(12, dtype=np.int64).reshape(3, 4)),
    single=np.array(3.5),
    none=np.zeros([0, 4]),
    texts=np.array(["one", "zwölf"]),
)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("name", ARRAYS)
def test_one_array(tmp_path, name, mapped):
    np.save(tmp_path / "a.npy", ARRAYS[name])
    found = read_array(tmp_path / "a.npy", mapped=mapped)
    assert isinstance(found, np.memmap) == mapped and found.dtype == ARRAYS[name].dtype
    np.testing.assert_array_equal(found, ARRAYS[name])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_several_arrays(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    with ArrayArchive(tmp_path / "a.npz") as found:
        assert list(found) == list(ARRAYS) and len(found) == 5
        assert "rows" in found and "other" not in found
        assert found.header("rows").shape == (3, 4) and found.header("rows").dtype == np.float32
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array)
        with pytest.raises(KeyError):
            found["other"]


def _header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


_FACTS = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "damaged, or not an array"),
        (b"junk" * 9, "damaged, or not an array"),
        (b"PK\x03\x04", "an archive of arrays"),
        (_header(b"{'descr': ((("), "damaged"),
        (_header(b"(" * 9000), "damaged"),
        (_header(b"-" * 9000 + b"1"), "damaged"),
        (_header(b"{'descr': '<f4', 'shape': (3"), "damaged"),
        (_header((_FACTS % "(3, 4)").encode()) + bytes(40), r"takes \d+"),
        (_header((_FACTS % "(3, 4)").encode()) + bytes(49), r"takes \d+"),
        (_header((_FACTS % "(99999999999, 9)").encode()) + bytes(48), r"takes \d+"),
        (_header((_FACTS % "(-3, -4)").encode()) + bytes(48), r"takes \d+"),
        (_header(_FACTS.replace("<f4", "|O").encode() % b"(1,)") + bytes(8), "Python objects"),
    ],
)
def test_what_is_no_array_is_told_in_a_line(tmp_path, content, said):
    path = tmp_path / "a.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CcsslError, match=rf"a\.npy: .*{said}") as told:
        read_array(path)
    assert "\n" not in str(told.value)


def test_every_bit_of_a_member_counts(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    content = (tmp_path / "a.npz").read_bytes()
    at = content.index(ARRAYS["rows"].tobytes()) + 7
    (tmp_path / "a.npz").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with ArrayArchive(tmp_path / "a.npz", advice="fetch it") as found:
        assert found["single"] == 3.5
        with pytest.raises(CorruptArtifactError, match="a.npz: rows: damaged .*CRC.*; fetch it"):
            found["rows"]


def test_what_is_no_archive(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        ArrayArchive(tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", ARRAYS["rows"])
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(CorruptArtifactError, match="a.npz: no codebook .*; learn it again"):
        ArrayArchive(tmp_path / "a.npz", what="no codebook", advice="learn it again")

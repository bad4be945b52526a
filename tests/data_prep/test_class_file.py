import pytest

from ccssl_tf.runs.errors import InputError
from data_prep.class_file import read_classes


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_names_in_their_order(tmp_path, encoding):
    path = tmp_path / "classes.txt"
    path.write_bytes("zebra\r\nblack cat \r\n\r\ncafé".encode(encoding))
    assert read_classes(path) == ["zebra", "black cat", "café"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\nb\na\nb\n", "'a', 'b' comes twice"),
        (b"\n", "holds no class names"),
        (b"caf\xe9\n", "not a readable list"),
        (None, "nothing.txt: not a readable list"),
    ],
)
def test_lists_that_are_none(tmp_path, content, said):
    path = tmp_path / "nothing.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_classes(path)

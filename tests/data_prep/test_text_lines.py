import codecs

import pytest

from data_prep import text_lines

LINES = ["a b.jpg", "café", "", " last "]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_of_any_editor(tmp_path, encoding, end):
    data = end.join(LINES).encode(encoding)
    (tmp_path / "list").write_bytes(data)
    expected = [line.encode() for line in LINES]
    assert text_lines.lines_of(data) == expected
    assert list(text_lines.read_lines(tmp_path / "list")) == expected
    with text_lines.open_text(tmp_path / "list") as file:
        assert file.read() == end.join(LINES)


def test_bytes_that_are_no_text_are_kept(tmp_path):
    data = codecs.BOM_UTF8 + b"caf\xe9.jpg\n\xff\n"
    (tmp_path / "list").write_bytes(data)
    assert text_lines.lines_of(data) == [b"caf\xe9.jpg", b"\xff"]
    assert list(text_lines.read_lines(tmp_path / "list")) == [b"caf\xe9.jpg", b"\xff"]

"""Flagfiles: read as absl reads them, and lines may go on."""

import pytest
from absl import flags

from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.flag_files import expanded


def test_files_are_read_as_absl_reads_them(tmp_path):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text("# inner\n--b=2\n")
    outer.write_text(
        f"// outer\n\n--a=1\n--flagfile={inner}\n  --c=x y  \n--d=ends\\\n--e=a\u2028b\x0cc\n",
        "utf-8",
    )
    words = [
        "--first",
        f"--flagfile={outer}",
        "--flagfile",
        str(inner),
        "--",
        f"--flagfile={inner}",
    ]
    assert expanded(words) == flags.FlagValues().read_flags_from_files(words)


def test_a_line_with_a_backslash_at_its_end_goes_on(tmp_path):
    file = tmp_path / "a.flags"
    file.write_text("--command=one \\\n  --x=1 \\\n\n  # a comment\n--y=2\n")
    assert expanded([f"--flagfile={file}"]) == ["--command=one --x=1 ", "--y=2"]
    file.write_text("--command=one \\\n  --x=1 \\\n  --z=3\n# a comment\n--y=2\n")
    assert expanded([f"--flagfile={file}"]) == ["--command=one --x=1 --z=3", "--y=2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"--a=\xff", "is not UTF-8"),
        (b"--a=1 \\\n", "ends with a backslash"),
        (b"--flagfile=PATH", "within itself"),
        (b"--flagfile", "names no file"),
        (b"--flagfile=", "names no file"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path, content, message):
    file = tmp_path / "a.flags"
    if content is not None:
        file.write_bytes(content.replace(b"PATH", bytes(file)))
    with pytest.raises(FlagError, match=message):
        expanded([f"--flagfile={file}"])

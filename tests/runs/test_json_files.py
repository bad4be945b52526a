"""Files of our own are read whole, or refused in one line that names them."""

import json
import os

import numpy as np
import pytest

from ccssl_tf.runs.errors import CorruptArtifactError
from ccssl_tf.runs.files import write_json
from ccssl_tf.runs.json_files import read_json

CONTENT = dict(name="é", shards=[dict(size=3)], rate=0.1, nothing=None, by={"7": True})
FORM = dict(name=str, shards=[dict(size=range(10))], rate=float, by={str: bool})


@pytest.fixture
def path(tmp_path):
    write_json(tmp_path / "a.json", CONTENT)
    return tmp_path / "a.json"


def refusal(path, form=FORM, **options):
    with pytest.raises(CorruptArtifactError) as caught:
        read_json(path, form, remedy="write it again", **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.endswith("; write it again")
    assert message.isprintable()
    return message.removeprefix(f"{path}: ").removesuffix("; write it again")


def test_what_was_written_is_read(path, tmp_path):
    assert read_json(path, FORM, remedy="") == CONTENT
    # Names become text, tuples lists, as JSON has them.
    write_json(path, {"by": {10: True, 9: False}, "size": (1, 2), "odd": float("inf")})
    read = read_json(path, remedy="")
    assert read == {"by": {"10": True, "9": False}, "size": [1, 2], "odd": float("inf")}
    # Older versions wrote no checksum.
    path.write_text(json.dumps(CONTENT))
    assert read_json(path, FORM, remedy="") == CONTENT


def test_no_flipped_bit_changes_what_is_read(path):
    content = path.read_bytes()
    outcomes = set()
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            read = read_json(path, FORM, remedy="write it again")
            # Blanks between the words, and the name of the checksum, which then is one more.
            outcomes.add({name: read.get(name) for name in CONTENT} == CONTENT)
        except CorruptArtifactError as error:
            assert str(error).isprintable()
    assert outcomes == {True}


@pytest.mark.parametrize(
    "junk",
    [
        *(b"", b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", b"null", b"3", b'"text"', b"[]"),
        *(b"[" * 100_000, b'{"name": ' * 100_000, b'{"name": ' + b"9" * 5000 + b"}"),
        *(b'{"name": "\x00"}', b'{"name": 1e999}', b"\0" * 100),
    ],
    ids=lambda junk: repr(junk[:12]),
)
def test_junk(path, junk):
    path.write_bytes(junk)
    assert refusal(path).startswith("damaged (")


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(name=3), "name holds 3 instead of a text"),
        (dict(name=None), "name holds nothing instead of a text"),
        (dict(shards={}), "shards holds {} instead of a list"),
        (dict(shards=[3]), "shards[0] holds 3 instead of an object"),
        (dict(shards=[{}]), "shards[0].size holds nothing instead of a whole number from 0 to 9"),
        (dict(shards=[dict(size=True)]), "shards[0].size holds True instead of a whole number"),
        (dict(shards=[dict(size=10)]), "shards[0].size holds 10 instead of a whole number"),
        (dict(rate="x" * 999), "rate holds 'xxxx"),
        (dict(by={"\x1b[31m": 3}), r"'by.\x1b[31m' holds 3 instead of"),
    ],
    ids=str,
)
def test_another_form(path, change, message):
    write_json(path, CONTENT | change)
    assert refusal(path).startswith(f"damaged ({message}")


def test_forms_of_choices(path):
    forms = dict(dtype={"float16", "float32"}, name=(str, None), more=([int], None))
    write_json(path, dict(dtype="float16"))
    assert read_json(path, forms, remedy="") == dict(dtype="float16")
    write_json(path, dict(dtype="int8"))
    assert refusal(path, forms) == "damaged (dtype holds 'int8' instead of float16 or float32)"
    write_json(path, dict(dtype="float16", more=[1, None]))
    assert refusal(path, forms).startswith("damaged (more")


def test_what_is_no_file(tmp_path):
    assert refusal(tmp_path / "none") == "is missing"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert refusal(tmp_path) == refusal(tmp_path / "pipe") == "is no regular file"
    assert refusal(tmp_path / "link") == "is missing"


def test_another_schema_version_is_told_before_anything_else(path):
    write_json(path, dict(schema_version=1))
    assert read_json(path, remedy="", schema_version=1) == dict(schema_version=1)
    for version in (0, 2, "1", None):
        path.write_text(json.dumps(dict(schema_version=version, checksum="of another kind")))
        message = f"schema version {version!r}, this program reads 1"
        assert refusal(path, schema_version=1) == message


def test_random_damage_never_escapes(path):
    random, content = np.random.default_rng(0), path.read_bytes()
    for _ in range(300):
        start, end = sorted(random.integers(0, len(content), 2))
        path.write_bytes(content[:start] + random.bytes(int(random.integers(9))) + content[end:])
        try:
            read_json(path, FORM, remedy="write it again")
        except CorruptArtifactError as error:
            assert str(error).isprintable()

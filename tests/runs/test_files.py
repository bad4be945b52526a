"""Files are written wholly or not at all; digests follow what they hold."""

import errno
import hashlib
import os
import subprocess
import sys

import pytest

from ccssl_tf.runs.files import (
    atomic_directory,
    atomic_file,
    file_sha256,
    fingerprint_of,
    is_temporary,
    sweep_temporary_files,
    write_bytes,
    write_csv,
    write_json,
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
        "import resource, sys; from ccssl_tf.runs import files; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: files.write_json(sys.argv[1], dict(a=list(range(10000))))\n"
        "except OSError as error: sys.exit(error.errno)"
    )
    finished = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
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


def test_sweeping_takes_names_of_this_program_only(tmp_path):
    users = [
        "a.txt",
        "tmp",
        "b.tmp",
        "notes.tmp-1",
        "x.tmp-new.txt",
        "y.tmp-12-ab",
        "z.tmp-1-0badcafe9",
    ]
    for name in users:
        (tmp_path / name).write_text("kept")
    (tmp_path / "run.tmp-old").mkdir()
    (tmp_path / "run.tmp-old" / "x").write_text("kept")
    written = set()
    for write in (atomic_file, atomic_directory):
        with pytest.raises(KeyError), write(tmp_path / "model.weights.h5") as temporary:
            written.add(temporary.name)
            raise KeyError
    assert len(written) == 2 and all(map(is_temporary, written))
    file, directory = sorted(written, key=lambda name: not name.endswith(".h5"))
    (tmp_path / file).write_text("x")
    (tmp_path / directory).mkdir()
    (tmp_path / directory / "x").write_text("x")
    (tmp_path / "l.tmp-1-0badcafe").symlink_to(tmp_path / "a.txt")
    sweep_temporary_files(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*users, "run.tmp-old"])
    assert (tmp_path / "run.tmp-old" / "x").is_file()


def test_what_is_written_is_text_for_people_and_the_same_in_any_order(tmp_path):
    write_json(tmp_path / "a.json", dict(b=[1, None], a="x"))
    write_json(tmp_path / "b.json", dict(a="x", b=[1, None]))
    text = (tmp_path / "a.json").read_text()
    assert text == (tmp_path / "b.json").read_text()
    checksum = fingerprint_of(dict(a="x", b=[1, None]))
    assert text == (f'{{\n "a": "x",\n "b": [\n  1,\n  null\n ],\n "checksum": "{checksum}"\n}}\n')
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", dict(a=object()))
    assert (tmp_path / "a.json").read_text() == text
    write_bytes(tmp_path / "c", b"\0\xff")
    assert (tmp_path / "c").read_bytes() == b"\0\xff"
    assert sorted(os.listdir(tmp_path)) == ["a.json", "b.json", "c"]


def test_fingerprints():
    assert fingerprint_of({"a": 1, "b": [2, None]}) == fingerprint_of({"b": [2, None], "a": 1})
    assert fingerprint_of({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    assert fingerprint_of([1, 2]) != fingerprint_of([2, 1])


def test_file_sha256(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(256)) * 1000)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(bytes(range(256)) * 1000).hexdigest()


def test_a_temporary_file_ends_as_its_file_does(tmp_path):
    """Keras tells formats by `.weights.h5`."""
    with atomic_file(tmp_path / "model.weights.h5") as temporary:
        assert temporary.name.startswith("model.weights.h5.tmp-")
        assert temporary.name.endswith(".weights.h5")
        temporary.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["model.weights.h5"]


def test_a_table_is_written_wholly_or_not_at_all(tmp_path):
    path = tmp_path / "table.csv"

    def rows():
        yield ["a,b", 1]
        raise ValueError

    with pytest.raises(ValueError):
        write_csv(path, ["name", "count"], rows())
    assert not list(tmp_path.iterdir())
    write_csv(path, ["name", "count"], [["a,b", 1], ["\u00e9", 2]])
    assert path.read_text("utf-8") == 'name,count\n"a,b",1\n\u00e9,2\n'

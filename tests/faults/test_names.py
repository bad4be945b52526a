"""Class folders whose names are no UTF-8 or hold control characters, under every locale: told as
one printable line, and not taken for empty.
"""

import os
import pathlib
import subprocess
import sys

import pytest
from conftest import jpeg_of, smooth_picture

ROOT = pathlib.Path(__file__).parents[2]
CLASSES = [b"plain", "é".encode(), b"caf\xe9", b"esc\x1b[31mred", b"two\nlines"]
LOCALES = {
    "strict": dict(LC_ALL="C.UTF-8", PYTHONIOENCODING="utf-8:strict"),
    "C": dict(LC_ALL="C"),
    "ASCII": dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
}


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(CLASSES):
        folder = os.fsencode(tmp_path / "phötos") + b"/" + name
        os.makedirs(folder)
        for photo in range(2):
            with open(folder + b"/%d.jpg" % photo, "wb") as file:
                file.write(jpeg_of(smooth_picture(2 * number + photo, 20, 24)))
    os.makedirs(os.fsencode(tmp_path / "phötos") + b"/empty\xff")
    return tmp_path / "phötos"


@pytest.mark.parametrize("locale", LOCALES)
def test_every_name_is_told_as_a_printable_line(photos, locale):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "PYTH"))}
    words = [f"--source={photos}", f"--output_dir={photos.parent / 'öut'}", "--val_fraction=0.5"]
    process = subprocess.run(
        [sys.executable, "-m", "data_prep.image_folder", *words, "--dry_run"],
        capture_output=True,
        cwd=ROOT,
        env=kept | LOCALES[locale],
    )
    assert (process.returncode, process.stderr) == (0, b"")
    output = process.stdout.decode("ascii" if locale == "ASCII" else "utf-8")
    assert all(line.isprintable() for line in output.splitlines())
    e = "\\xe9" if locale == "ASCII" else "é"
    assert f"its 5 classes: caf\\udce9, esc\\x1b[31mred, plain, two\\nlines, {e}\n" in output
    assert "folders without images are no classes: empty\\udcff\n" in output

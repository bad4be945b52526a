"""The same bytes come of the same photos wherever they are converted: another locale and time zone,
a home that cannot be written to, no network, files from the future, a path with spaces.
"""

import os
import pathlib
import subprocess
import sys
import time

import pytest
from conftest import jpeg_of, smooth_picture

ROOT = pathlib.Path(__file__).parents[2]
SPLITS = {"train": 6, "val": 2}


def _write_photos(root, *, seconds=0):
    for split, count in SPLITS.items():
        for number in range(count):
            path = root / split / "äbc"[number % 3] / f"photo {number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg_of(smooth_picture(number, 30, 40)))
            os.utime(path, (time.time() + seconds,) * 2)


def _convert(root, environment, prefix=()):
    words = [f"--source={root / 'photos'}", f"--output_dir={root / 'out'}", "--num_workers=1"]
    process = subprocess.run(
        [*prefix, sys.executable, "-m", "data_prep.image_folder", *words],
        capture_output=True,
        cwd=ROOT,
        env=environment,
    )
    assert (process.returncode, process.stderr) == (0, b"")
    return {path.name: path.read_bytes() for path in (root / "out").glob("*.tfrecord")} | {
        name: (root / "out" / name).read_bytes() for name in ("images.csv", "manifest.json")
    }


@pytest.mark.slow
def test_an_odd_environment_gives_the_same_bytes(tmp_path):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "PYTH"))}
    plain, odd = tmp_path / "plain", tmp_path / "with spaces é"
    _write_photos(plain / "photos")
    # A clock a year ahead of this one's.
    _write_photos(odd / "photos", seconds=365 * 86400)
    # Nobody can write there, the superuser neither.
    home = "/proc/home"
    odd_environment = kept | dict(
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
        TZ="Pacific/Kiritimati",
        HOME=home,
        XDG_CACHE_HOME=f"{home}/cache",
    )
    # Where the system lets a process be without a network, it is.
    unshared = ("unshare", "--map-root-user", "--net")
    try:
        alone = subprocess.run([*unshared, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        alone = False
    expected = _convert(plain, kept)
    assert _convert(odd, odd_environment, unshared if alone else ()) == expected

"""The flagfiles of experiments/ in any directory, and in what pip installs."""

import configparser
import glob
import os
import pathlib

import pytest

from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.flag_files import expanded
from ccssl_tf.runs.shipped import located

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_a_file_of_here_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.path.join("experiments", "quickstart.flags")
    assert located(name) == str(ROOT / name)
    pathlib.Path("experiments").mkdir()
    pathlib.Path(name).write_text("--seed=1\n")
    assert located(name) == name
    assert expanded([f"--flagfile={name}"]) == ["--seed=1"]


def test_other_names_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("README.md", "experiments/none.flags", "a/experiments/quickstart.flags"):
        assert located(name) == name
    with pytest.raises(FlagError, match="none.flags: No such file"):
        expanded(["--flagfile=experiments/none.flags"])


def test_without_a_checkout_the_installed_ones_are_taken(tmp_path, monkeypatch):
    installed = tmp_path / "share" / "ccssl_tf" / "experiments"
    installed.mkdir(parents=True)
    (installed / "installed.flags").write_text("--seed=2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sysconfig.get_path", {"data": str(tmp_path)}.__getitem__)
    assert expanded(["--flagfile=experiments/installed.flags"]) == ["--seed=2"]


def test_every_flagfile_is_installed_where_it_is_looked_for():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    shipped = set()
    for target, patterns in setup["options.data_files"].items():
        for pattern in patterns.split():
            assert target == f"share/ccssl_tf/{os.path.dirname(pattern)}"
            shipped |= set(glob.glob(pattern, root_dir=ROOT))
    flagfiles = {str(f.relative_to(ROOT)) for f in (ROOT / "experiments").rglob("*.flags")}
    results = {f"experiments/results/{name}" for name in ("quickstart_seeds.json", "costs.csv")}
    assert shipped == flagfiles | results

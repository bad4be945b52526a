"""`ccssl COMMAND`: the list, one command, a wrong one."""

import importlib.metadata
import importlib.util
import pathlib
import subprocess
import sys

import pytest

import ccssl_tf
from ccssl_tf import __main__ as ccssl

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "ccssl_tf", *words], capture_output=True, text=True, **options
    )


def test_every_command_is_in_the_list():
    modules = {
        f"{package}.{file.stem}"
        for package in ("ccssl_tf", "data_prep")
        for file in (ROOT / package).glob("*.py")
        if "\n    launch(" in file.read_text()
    }
    assert set(ccssl.MODULES.values()) == modules
    listed = ccssl.overview()
    for name in ccssl.MODULES:
        assert f"\n  {name} " in listed
    assert max(map(len, listed.splitlines())) <= 100


def test_without_a_command_the_list_is_shown():
    assert run().stdout == run("--help").stdout == ccssl.overview() + "\n"


@pytest.mark.parametrize("words", [["--version"], ["report", "--version"]])
def test_version(words):
    assert run(*words).stdout == f"ccssl_tf {ccssl_tf.__version__}\n"


def test_a_command_gets_the_words_after_its_name(tmp_path):
    words = [f"--output_dir={tmp_path / 'data'}", "--num_train=12", "--num_val=4"]
    result = run("data_prep.shapes", *words)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "data" / "manifest.json").is_file()


def test_a_wrong_name_is_told():
    result = run("trian")
    assert result.returncode == 1
    assert result.stderr == "error: trian: no such command; did you mean train?\n"


def test_the_console_script_is_this_command():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="ccssl")
    assert script.load() is ccssl.main


def test_errors_of_a_command_keep_their_code(tmp_path):
    result = run("train", "--task=jigsw", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("error: --task=jigsw: unknown")

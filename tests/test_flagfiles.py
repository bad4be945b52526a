"""Every flagfile under experiments/ says what it is for and parses with the definitions of the
commands it is for.
"""

import pathlib
import re
import subprocess
import sys

import pytest

from ccssl_tf import pipeline
from ccssl_tf.runs import command_lines
from ccssl_tf.runs.command_lines import Stage

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "experiments").rglob("*.flags"))
_TYPED = re.compile(r"^#\s+python -m (\S+) .*--flagfile=(\S+)", re.MULTILINE)


def name(path):
    return path.relative_to(ROOT).as_posix()


def lines(path):
    """The flags of a file, those of the files it names in their place."""
    for line in path.read_text().splitlines():
        if line.startswith("--flagfile="):
            yield from lines(ROOT / line.split("=", 1)[1])
        elif line.startswith("--"):
            yield line


def swept(path):
    """What a flagfile sweeps over, or None."""
    values = [line.partition("=")[2] for line in lines(path) if line.startswith("--sweep=")]
    return values[-1] if values else None


def commands_of(path):
    """The commands a flagfile stands for: those it lists, or the one its comment says it is given
    to.
    """
    templates = tuple(
        line.removeprefix("--command=") for line in lines(path) if line.startswith("--command=")
    )
    if templates:
        settings = pipeline.PipelineSettings(command=templates, workdir="runs/x", sweep=swept(path))
        return pipeline.plan(settings)
    modules = {module for module, file in _TYPED.findall(path.read_text()) if file == name(path)}
    return [Stage(module, (f"--flagfile={path}",)) for module in modules]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_it_opens_with_what_it_is_and_its_command(path):
    head = path.read_text().split("\n--")[0]
    assert head.startswith("# ")
    assert name(path) in {file for _, file in _TYPED.findall(head)}, (
        "the opening comment gives no command with this file"
    )
    assert "cost" in head.lower(), "the opening comment does not say what it costs"


def test_every_command_of_every_flagfile_parses():
    assert FILES
    command_lines.check_flags([command for path in FILES for command in commands_of(path)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [path for path in FILES if any(line.startswith("--command=") for line in lines(path))],
    ids=name,
)
def test_pipelines_pass_a_dry_run(path, tmp_path):
    arguments = [f"--flagfile={name(path)}", f"--workdir={tmp_path}/w", "--dry_run"]
    done = subprocess.run(
        [sys.executable, "-m", "ccssl_tf.pipeline", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "w").exists()

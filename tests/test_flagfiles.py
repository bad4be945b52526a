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
# Parts that experiments share: settings of one command each, and stages of pipelines.
PARTS = [path for path in FILES if path.parent.name in ("settings", "stages")]
EXPERIMENTS = [path for path in FILES if path not in PARTS]
_TYPED = re.compile(r"^#\s+python -m (\S+) .*--flagfile=(\S+)", re.MULTILINE)


def name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    """Flagfiles name each other from the project's directory."""
    monkeypatch.chdir(ROOT)


def commands_of(path):
    """The commands a flagfile stands for: those it lists, or the one its comment says it is given
    to.
    """
    settings = pipeline.COMMAND.parse([f"--flagfile={path}"])[pipeline.PipelineSettings]
    return pipeline.plan(settings)


def modules_of(path):
    """The commands that the opening comment of a flagfile gives it to."""
    return {module for module, file in _TYPED.findall(path.read_text()) if file == name(path)}


def pipelines():
    return [path for path in EXPERIMENTS if modules_of(path) == {"ccssl_tf.pipeline"}]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name)
def test_it_opens_with_what_it_is_and_its_command(path):
    head = path.read_text().split("\n--")[0]
    assert head.startswith("# ")
    assert modules_of(path), "the opening comment gives no command with this file"
    assert "cost" in head.lower(), "the opening comment does not say what it costs"


@pytest.mark.parametrize("path", PARTS, ids=name)
def test_a_part_says_what_it_is_and_is_used(path):
    assert path.read_text().startswith("# ")
    # Some are named by a placeholder, as settings/{other_task}.flags.
    values = {
        value.strip()
        for other in FILES
        for line in re.findall(r"^--define=\w+=((?:.*\\\n)*.*)$", other.read_text(), re.MULTILINE)
        for value in line.replace("\\\n", "").split(",")
    }
    users = [other for other in FILES if f"={name(path)}" in other.read_text()]
    assert users or path.stem in values


def test_every_command_of_every_flagfile_parses():
    stages = {}
    for path in pipelines():
        for stage in commands_of(path):
            # Commands that differ in the directories they read and write alone have the same flags.
            stages[tuple(re.sub(r"=runs/.*", "=runs", word) for word in stage.line)] = stage
    others = [path for path in EXPERIMENTS if path not in pipelines()]
    stages |= {
        path: Stage(module, (f"--flagfile={path}",))
        for path in others
        for module in modules_of(path)
    }
    command_lines.check_flags(list(stages.values()))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_lines_are_short(path):
    assert all(len(line) <= 120 for line in path.read_text().splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("path", pipelines(), ids=name)
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

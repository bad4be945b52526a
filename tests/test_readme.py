"""What the READMEs show works: links and files exist, commands have such flags, the whole of them
runs in order (slow), and the task that is added trains.
"""

import dataclasses
import functools
import importlib
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import readme_inputs
import tensorflow as tf

from ccssl_tf.data import image_batches
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.ops import per_example_random
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.settings import setting
from ccssl_tf.task import Task, TaskSettings
from ccssl_tf.training import OptimizerSettings, train

ROOT = pathlib.Path(__file__).resolve().parent.parent
# In the order in which a newcomer reads them: later ones use what earlier commands wrote.
READMES = [
    "README.md",
    "data_prep/README.md",
    "ccssl_tf/pretext/README.md",
    "ccssl_tf/features/README.md",
    "ccssl_tf/clustering/README.md",
    "ccssl_tf/knowledge_transfer/README.md",
    "ccssl_tf/downstream/README.md",
    "ccssl_tf/downstream/formats/README.md",
    "ccssl_tf/training/README.md",
    "experiments/README.md",
    "experiments/several_machines/README.md",
    "experiments/study/README.md",
    "tests/faults/README.md",
]
MAX_LINES = {"README.md": 120, "experiments/README.md": 200}
PRETEXT = (ROOT / "ccssl_tf/pretext/README.md").read_text()
_MODULE = r"(?:ccssl_tf|data_prep|tests)(?:\.\w+)+"


def text_of(readme):
    return (ROOT / readme).read_text()


def blocks(readme, language=""):
    """Yields the code blocks: indented ones, or the fenced ones of a language."""
    if language:
        yield from re.findall(rf"^```{language}\n(.*?)^```", text_of(readme), re.M | re.S)
        return
    prose = re.sub(r"^```.*?^```", "", text_of(readme), flags=re.M | re.S)
    for block in re.findall(r"(?:^(?: {4}.*)?\n)+", prose, re.M):
        yield "\n".join(line[4:] for line in block.splitlines())


def commands(readme):
    """Yields the words of every command in a code block, what is in brackets among them."""
    for block in blocks(readme):
        for line in re.sub(r" \\\n\s*", " ", block).splitlines():
            line = re.sub(r"[\[\]]", "", line) if "[" in line and "'" not in line else line
            if re.match(rf"python -m {_MODULE}|ccssl \w", line):
                words = shlex.split(line, comments=True)
                yield words[2:] if words[0] == "python" else [f"ccssl_tf.{words[1]}", *words[2:]]


def test_there_is_no_other_readme():
    there = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/**/README.md")}
    there = {path for path in there if not any(part.startswith(".") for part in path.split("/"))}
    assert there | {"README.md"} == set(READMES)


@pytest.mark.parametrize("readme", READMES)
def test_readmes_are_short(readme):
    lines = text_of(readme).splitlines()
    assert len(lines) <= MAX_LINES.get(readme, 150)
    if readme == "README.md":
        assert len(text_of(readme).split()) <= 900


@pytest.mark.parametrize("readme", READMES)
def test_links_modules_and_files_exist(readme):
    text, home = text_of(readme), (ROOT / readme).parent
    for target in re.findall(r"\]\(([^)#]*)[^)]*\)", text):
        assert target.startswith("https://") or (home / target).exists(), target
    for module in re.findall(rf"python -m ({_MODULE})", text):
        assert module.endswith(".NAME") or importlib.util.find_spec(module), module
    for path in re.findall(r"experiments/[\w/]+\.\w+", text):
        if "NAME" not in path and "FILE" not in path:
            assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("readme", READMES)
def test_commands_have_these_flags(readme):
    for module, *words in commands(readme):
        if module.startswith("tests."):
            continue
        importlib.import_module(module).COMMAND.parse(words)


def test_the_added_task_is_short_and_learns(image_dir, tmp_path):
    code = re.search(r"```python\n(@dataclasses.dataclass.*?)```", PRETEXT, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    names = dict(tf=tf, Task=Task, TaskSettings=TaskSettings, setting=setting)
    names |= dict(dataclasses=dataclasses, image_batches=image_batches)
    names |= dict(build_classifier=build_classifier, per_example_random=per_example_random)
    exec(compile(code, "README.md", "exec"), names)
    task = names["Negative"](data_dir=str(image_dir), image_size=32)
    with pytest.raises(FlagError, match="--share=2"):
        names["Negative"](data_dir=str(image_dir), share=2)
    backbone = AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    options = dict(workdir=tmp_path, train_steps=12, batch_size=24, log_steps=3)
    adam = OptimizerSettings(optimizer="adam", learning_rate=3e-3)
    _, metrics, _ = train(task, backbone, optimizer=adam, **options)
    losses = [record["loss"] for record in metrics["history"]["train"]]
    assert losses[-1] < losses[0]
    assert np.isfinite(metrics["evaluation"]["accuracy"])


@pytest.mark.slow
def test_everything_runs_in_the_order_it_is_read(tmp_path):
    """Every command and every snippet, but for few steps and few images: in one directory, as
    someone would who starts with nothing but photos.
    """
    readme_inputs.write(tmp_path)
    environment = dict(os.environ, PYTHONPATH=str(ROOT), TF_CPP_MIN_LOG_LEVEL="3")
    run = functools.partial(
        subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    failed = []
    for readme in READMES:
        for module, *words in commands(readme):
            if readme_inputs.is_not_here(module, words):
                continue
            words += readme_inputs.in_small(module, words)
            result = run([sys.executable, "-m", module, *words])
            if result.returncode:
                failed.append(f"{readme}: {module} {shlex.join(words)}\n{result.stderr[-800:]}")
        for code in blocks(readme, "python"):
            if any(name in code for name in readme_inputs.FOREIGN_CODE) or "class " in code:
                continue
            result = run([sys.executable, "-c", readme_inputs.PREAMBLE + code])
            if result.returncode:
                failed.append(f"{readme}:\n{code}\n{result.stderr[-800:]}")
    assert not failed, "\n\n".join(failed)

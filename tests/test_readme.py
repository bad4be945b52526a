"""What the README shows works: its commands exist, and the task it adds trains."""

import dataclasses
import importlib.util
import pathlib
import re

import numpy as np
import pytest
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
README = (ROOT / "README.md").read_text()


def test_commands_flagfiles_and_links_exist():
    modules = set(re.findall(r"python -m ((?:ccssl_tf|data_prep)\.\w+)", README))
    assert len(modules) >= 8
    for module in modules:
        assert importlib.util.find_spec(module), module
    for path in re.findall(r"experiments/[\w/]+\.\w+", README):
        assert (ROOT / path).is_file(), path


def test_the_added_task_is_short_and_learns(image_dir, tmp_path):
    code = re.search(r"```python\n(@dataclasses.dataclass.*?)```", README, re.DOTALL).group(1)
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

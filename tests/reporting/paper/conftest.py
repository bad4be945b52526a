"""Fabricated evaluations, found by their paths, with right and wrong answers of every image."""

import pytest
from paper_measurements import LAYERS, answers, write_outcomes


@pytest.fixture
def probe_run(runs):
    """A writer of a linear probe's run: name, accuracies of conv1 to conv5, more of `runs.add`."""

    def write(name, values, *, seed=0, outcomes=False, init=None, task="linear_probe", **flags):
        evaluation = dict(zip((f"accuracy/{layer}" for layer in LAYERS), values, strict=False))
        runs.add(
            name,
            f"ccssl_tf.train --task={task} --backbone=alexnet",
            inputs={"data_dir": "data"} | ({"init_backbone": init} if init else {}),
            flags=dict(flags, seed=str(seed)),
            metrics=dict(task=task, step=100, evaluation=evaluation, facts=dict(chance=0.1)),
        )
        if outcomes:
            correct = {
                layer: answers(value, seed=seed)
                for layer, value in zip(LAYERS, values, strict=False)
            }
            write_outcomes(runs.root / name, correct)

    return write

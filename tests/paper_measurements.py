"""Fabricated measurements of the paper's experiments, which several tests look at."""

import numpy as np

from ccssl_tf.data.outcomes import Outcomes
from ccssl_tf.reporting.paper.measurement import Measurement

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")


def packed(correct):
    """Returns answers [N] bool as the file of outcomes has them."""
    return np.packbits(np.asarray(correct, bool))


def write_outcomes(path, correct, **more):
    """Writes `outcomes.npz`: layer -> [N] bool."""
    arrays = {layer: packed(answers) for layer, answers in correct.items()}
    count = len(next(iter(correct.values())))
    np.savez(path / "outcomes.npz", **{"count": np.int64(count), **arrays, **more})


def answers(accuracy, count=1000, seed=0):
    """Returns [N] bool with a share `accuracy` of right ones: the easy images, less some noise."""
    hardness = np.random.default_rng(7).uniform(size=count)
    noise = np.random.default_rng(seed).normal(0, 0.02, count)
    order = np.argsort(hardness + noise)
    correct = np.zeros(count, bool)
    correct[order[: round(accuracy * count)]] = True
    return correct


def measured(stage, value, *, seed=0, metric="evaluation.mean_average_precision", **fields):
    """Returns a measurement of one number."""
    return Measurement(stage, seed, {metric: value}, **fields)


def probed(stage, values, *, seed=0, count=None, outcomes=False, **fields):
    """Returns a measurement of a linear probe's accuracies of conv1 to conv5."""
    layers = dict(zip(LAYERS, values, strict=False))
    right = None
    if outcomes:
        bits = {
            layer: packed(answers(value, count, seed)).tobytes() for layer, value in layers.items()
        }
        right = Outcomes(count, bits)
    metrics = {f"evaluation.accuracy/{layer}": value for layer, value in layers.items()}
    return Measurement(stage, seed, metrics, count=count, outcomes=right, **fields)

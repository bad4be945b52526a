"""The one training loop and what it needs: a step, checkpoints, optimizers, a log."""

from ccssl_tf.training.loop import LoopSettings, Trained, train
from ccssl_tf.training.optimizers import OptimizerSettings

__all__ = ["LoopSettings", "OptimizerSettings", "Trained", "train"]

"""The one training loop and what it needs: a step, checkpoints, optimizers, a monitor."""

from ccssl_tf.training.loop import Trained, train
from ccssl_tf.training.loop_settings import LoopSettings
from ccssl_tf.training.optimizers import OptimizerSettings

__all__ = ["LoopSettings", "OptimizerSettings", "Trained", "train"]

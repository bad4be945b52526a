"""The one training loop and what it needs: checkpoints, optimizers, log."""

from ccssl_tf.training.loop import check_batch_size, train

__all__ = ["check_batch_size", "train"]

"""The process a command runs in: its cores, its seeds, and TensorFlow imported quietly, only inside
the functions that need it.
"""

import os
import random
import sys


def num_cores() -> int:
    """Returns the cores this process may use; not every system tells these, then all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quiet_tensorflow():
    """Imports TensorFlow without its start-up lines on stderr; later errors still print. Call
    before anything imports it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import tensorflow as tf

        # A process of a multi-worker job connects to the others before TensorFlow computes
        # anything.
        if "TF_CONFIG" not in os.environ:
            tf.constant(0)
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
    return tf


def seed_everything(seed: int):
    """Seeds Python, NumPy, Keras initialisers and TensorFlow."""
    import keras
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)
    keras.utils.set_random_seed(seed % 2**32)

"""Layers that Keras lacks and the paper's networks need; they run on every Keras backend."""

from ccssl_tf.layers.ceil_pooling import CeilMaxPooling2D
from ccssl_tf.layers.grouped_convolution import GroupedConv2D
from ccssl_tf.layers.lab_convolution import LabConv2D
from ccssl_tf.layers.local_response_norm import LocalResponseNormalization
from ccssl_tf.layers.per_example_dropout import PerExampleDropout
from ccssl_tf.layers.roi_pool import RoIPool

__all__ = [
    "CeilMaxPooling2D",
    "GroupedConv2D",
    "LabConv2D",
    "LocalResponseNormalization",
    "PerExampleDropout",
    "RoIPool",
]

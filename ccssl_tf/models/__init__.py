"""Backbones with named endpoints, on any Keras backend."""

from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.applications import Application
from ccssl_tf.models.backbone import Backbone
from ccssl_tf.models.backbone_file import load_backbone, save_backbone
from ccssl_tf.models.keras_network import KerasNetwork
from ccssl_tf.models.vgg16 import VGG16

__all__ = [
    "VGG16",
    "AlexNet",
    "Application",
    "Backbone",
    "KerasNetwork",
    "load_backbone",
    "save_backbone",
]

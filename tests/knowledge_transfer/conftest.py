"""A teacher as a training leaves it behind."""

import numpy as np
import pytest

from ccssl_tf.models import backbone_file
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.models.vgg16 import VGG16


def write_teacher(directory, backbone, num_classes=3, image_size=32):
    """Writes backbone.keras and classifier.keras, with statistics of batch normalisation as if it
    had been trained.
    """
    classifier = build_classifier(backbone, num_classes, image_size)
    random = np.random.default_rng(num_classes)
    for variable in backbone.non_trainable_variables:
        if "moving" in variable.name:
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    directory.mkdir(parents=True, exist_ok=True)
    backbone_file.save_backbone(backbone, directory)
    backbone_file.save_model(classifier, directory / "classifier.keras")
    return directory


@pytest.fixture(scope="session")
def alexnet_teacher(tmp_path_factory):
    """A small AlexNet of 8, 24, 40, 40, 24 channels that knows three classes, at 32 pixels:
    conv3-conv5 are 4x4.
    """
    backbone = AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    return write_teacher(tmp_path_factory.mktemp("teachers") / "alexnet", backbone)


@pytest.fixture(scope="session")
def vgg16_teacher(tmp_path_factory):
    """A VGG16 of 8, 8, 16, 24, 24 channels: at 32 pixels conv3_3 is 8x8, conv4_3 4x4,
    conv5_3 2x2.
    """
    return write_teacher(
        tmp_path_factory.mktemp("teachers") / "vgg16",
        VGG16(normalization="batch_norm", width_multiplier=0.05, fc_units=()),
    )


@pytest.fixture
def small_alexnet():
    """Makes students of 8, 16, 16, 16, 16 channels."""
    return lambda normalization="batch_norm": AlexNet(
        stem="small", normalization=normalization, width_multiplier=0.05, fc_units=()
    )

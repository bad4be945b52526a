"""Backbones written under TensorFlow give the same endpoints under JAX and PyTorch."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

import keras
import numpy as np
import pytest

from ccssl_tf.models import VGG16, AlexNet, save_backbone
from ccssl_tf.models.folding import fold_batch_normalization
from ccssl_tf.models.input_convention import InputConvention
from ccssl_tf.models.keras_network import load_network

ROOT = pathlib.Path(__file__).parent.parent.parent

SCRIPT = """
import pathlib, sys
import keras, numpy as np
from ccssl_tf.layers.per_example_dropout import PerExampleDropout
from ccssl_tf.models import load_backbone

for directory in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    backbone = load_backbone(directory)
    outputs = backbone(backbone.normalize(np.load(directory / "images.npy")), training=False)
    np.savez(directory / f"{keras.backend.backend()}.npz", **{k: keras.ops.convert_to_numpy(outputs[k]) for k in backbone.endpoint_names})
dropped = keras.ops.convert_to_numpy(PerExampleDropout(0.5, stream=0)(np.ones([8, 100], "float32"), training=True))
assert set(np.unique(dropped)) == {0, 2}
print(keras.backend.backend(), "tensorflow" in sys.modules)
"""  # noqa: E501


def _of_others():
    """A Keras model of somebody else's, with operators between its layers."""
    images = keras.Input([32, 32, 3])
    x = keras.layers.BatchNormalization()(
        keras.layers.Conv2D(4, 3, strides=2, padding="same")(images)
    )
    x = keras.layers.Dropout(0.5)(keras.ops.relu(x) * 2.0 + x)
    with tempfile.TemporaryDirectory() as directory:
        keras.Model(images, keras.layers.Conv2D(4, 3, strides=2, padding="same")(x)).save(
            f"{directory}/net.keras"
        )
        return load_network(
            f"{directory}/net.keras", InputConvention((0, 1), mean=(0.5, 0.4, 0.3), channels="BGR")
        )


NETWORKS = dict(
    standard=(lambda: AlexNet(image_size=67, width_multiplier=0.2, fc_units=(32, 16)), 67),
    tiles=(lambda: AlexNet(order="bvlc", width_multiplier=0.2, fc_units=(), conv1_stride=2), 64),
    small=(
        lambda: AlexNet(
            stem="small", normalization="batch_norm", width_multiplier=0.2, fc_units=()
        ),
        33,
    ),
    bvlc=(
        lambda: AlexNet(order="bvlc", image_size=67, width_multiplier=0.2, fc_units=(32, 16)),
        67,
    ),
    folded=(
        lambda: fold_batch_normalization(
            AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.2, fc_units=())
        ),
        33,
    ),
    own_mean=(
        lambda: VGG16(
            width_multiplier=0.1,
            fc_units=(8, 8),
            image_size=32,
            input_mean=(123.68, 116.779, 103.939),
        ),
        32,
    ),
    of_others=(_of_others, 32),
    vgg16=(lambda: VGG16(width_multiplier=0.1, fc_units=(), normalization="batch_norm"), 16),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Directories of a backbone, images and what TensorFlow makes of them."""
    root = tmp_path_factory.mktemp("backbones")
    for name, (build, size) in NETWORKS.items():
        (root / name).mkdir()
        backbone = build()
        save_backbone(backbone, root / name)
        images = np.random.default_rng(0).integers(0, 256, [3, size, size, 3], np.uint8)
        np.save(root / name / "images.npy", images)
        outputs = backbone(backbone.normalize(images), training=False)
        np.savez(
            root / name / "tensorflow.npz",
            **{key: np.asarray(value) for key, value in outputs.items()},
        )
    return root


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_endpoints_are_equal(written, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = dict(os.environ, KERAS_BACKEND=backend)
    command = [sys.executable, "-c", SCRIPT, str(written)]
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split()[0] == backend
    for name in NETWORKS:
        expected, found = (
            np.load(written / name / f"{which}.npz") for which in ("tensorflow", backend)
        )
        assert found.files == expected.files
        for endpoint in expected.files:
            scale = np.abs(expected[endpoint]).max()
            np.testing.assert_allclose(
                found[endpoint],
                expected[endpoint],
                rtol=1e-4,
                atol=1e-4 * scale,
                err_msg=f"{name} {endpoint}",
            )

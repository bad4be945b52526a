"""Weights of keras.applications' VGG16 compute what that network computes."""

import h5py
import keras
import numpy as np
import pytest

from ccssl_tf.models import VGG16
from ccssl_tf.models.importers import import_backbone
from ccssl_tf.models.start import NetworkSettings, Start
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


def pixels():
    return np.random.default_rng(1).integers(0, 256, [1, 224, 224, 3], np.uint8)


def agree(backbone, expected, images, tolerance=1e-4):
    found = backbone(backbone.normalize(images), training=False)
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name], value, rtol=tolerance, atol=tolerance * np.abs(value).max(), err_msg=name
        )


@pytest.fixture(scope="module")
def applications(tmp_path_factory):
    """keras.applications' VGG16 with random weights and biases, in three kinds of files."""
    directory = tmp_path_factory.mktemp("applications")
    keras.utils.set_random_seed(5)
    network = keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))
    for layer in network.layers:
        if layer.weights:
            layer.bias.assign(keras.random.normal(layer.bias.shape))
    network.save_weights(directory / "keras3.weights.h5")
    network.save(directory / "whole.h5")
    with h5py.File(
        directory / "notop.h5", "w"
    ) as file:  # As published: a group a layer, tensors named by Keras 1.
        for layer in network.layers:
            group = file.create_group(layer.name)
            for name, weight in zip("Wb", layer.get_weights(), strict=False):
                group.create_dataset(f"{layer.name}_{name}_1:0", data=weight)
    images = pixels()
    names = {
        f"block{b}_conv{n}": f"conv{b}_{n}"
        for b, depth in enumerate((2, 2, 3, 3, 3), 1)
        for n in range(1, depth + 1)
    }
    names["block5_pool"] = "pool5"
    endpoints = keras.Model(
        network.input, {ours: network.get_layer(theirs).output for theirs, ours in names.items()}
    )
    prepared = keras.applications.vgg16.preprocess_input(images.astype("float32"))
    return (
        directory,
        images,
        {name: np.asarray(value) for name, value in endpoints(prepared).items()},
    )


@pytest.mark.parametrize("file", ["notop.h5", "keras3.weights.h5", "whole.h5"])
def test_endpoints_are_those_of_keras_applications_at_224(applications, file):
    directory, images, expected = applications
    backbone = import_backbone(directory / file, VGG16, fc_units=())
    agree(backbone, expected, images)
    assert backbone.input_mean == (123.68, 116.779, 103.939)
    assert backbone.weights_from["importer"] == "keras.applications.VGG16"


def test_a_top_is_asked_for_and_missing(applications):
    with pytest.raises(InputError, match=r"notop.h5: no kernel of fc1 \(our fc6\); it has no top"):
        import_backbone(applications[0] / "notop.h5", VGG16, fc_units=(8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["top.weights.h5", "top.h5"])
def test_fully_connected_layers_are_those_of_keras_applications(tmp_path, file):
    keras.utils.set_random_seed(6)
    network = keras.applications.VGG16(weights=None)
    network.save_weights(tmp_path / file) if file.endswith("weights.h5") else network.save(
        tmp_path / file
    )
    images = pixels()
    theirs = keras.Model(
        network.input,
        {"fc6": network.get_layer("fc1").output, "fc7": network.get_layer("fc2").output},
    )
    expected = theirs(keras.applications.vgg16.preprocess_input(images.astype("float32")))
    agree(
        import_backbone(tmp_path / file, VGG16),
        {name: np.asarray(value) for name, value in expected.items()},
        images,
    )


def test_h5_data_that_is_elsewhere_or_of_another_shape_is_refused(tmp_path):
    (tmp_path / "outside").write_bytes(bytes(3 * 3 * 3 * 8 * 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        external = [(str(tmp_path / "outside"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("block1_conv1/kernel", (3, 3, 3, 8), "float32", external=external)
    with pytest.raises(
        InputError, match="a.h5: /block1_conv1/kernel does not hold its own numbers"
    ):
        import_backbone(tmp_path / "a.h5", VGG16, width_multiplier=0.1, fc_units=())
    with pytest.raises(
        InputError,
        match=r"/block1_conv1/kernel has shape \[3, 3, 3, 8\], the network being built has \[3, 3, "
        r"3, 16\]",
    ):
        import_backbone(tmp_path / "a.h5", VGG16, width_multiplier=0.2, fc_units=())


def test_damaged_files_are_damaged(tmp_path):
    whole, arguments = tmp_path / "whole.h5", dict(width_multiplier=0.05, fc_units=())
    with h5py.File(whole, "w") as file:
        for layer in VGG16(**arguments).convolutions():
            block, number = layer.name[4:].split("_")
            for name, weight in zip(("kernel", "bias"), layer.get_weights(), strict=True):
                file[f"block{block}_conv{number}/{name}"] = weight
    import_backbone(whole, VGG16, **arguments)
    content, path = whole.read_bytes(), tmp_path / "damaged.h5"
    for damaged in (b"", b"not one" * 100, content[: len(content) // 2], content[:100]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptArtifactError, match="damaged.h5: damaged") as caught:
            import_backbone(path, VGG16, **arguments)
        assert "\n" not in str(caught.value)


def test_a_network_starts_from_them(applications):
    directory, images, expected = applications
    network = Start(
        dict(vgg16=VGG16),
        NetworkSettings(init_backbone=str(directory / "notop.h5")),
        image_size=64,
    ).build()
    assert network.get_config()["normalization"] == "none"
    agree(network, {"conv5_3": expected["conv5_3"]}, images)

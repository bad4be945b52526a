"""Imported weights compute what their own framework computes: Caffe's layers written in NumPy,
keras.applications' VGG16.
"""

import pathlib

import h5py
import keras
import numpy as np
import pytest
from absl.testing import flagsaver

from ccssl_tf import registry
from ccssl_tf.models import VGG16, AlexNet, load_backbone, save_backbone
from ccssl_tf.models.importers import import_backbone
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

# A tenth of CaffeNet: layer -> shape of its weights as Caffe keeps them.
SMALL = dict(width_multiplier=0.1, image_size=67, fc_units=(12, 6))
CAFFE = dict(
    conv1=(8, 3, 11, 11),
    conv2=(24, 4, 5, 5),
    conv3=(40, 24, 3, 3),
    conv4=(40, 20, 3, 3),
    conv5=(24, 20, 3, 3),
)
CAFFE |= dict(fc6=(12, 24), fc7=(6, 12))
GROUPS, PADDING = dict(conv2=2, conv4=2, conv5=2), dict(conv2=2, conv3=1, conv4=1, conv5=1)


def caffe_blobs(seed=0, shapes=CAFFE):
    random = np.random.default_rng(seed)
    blobs = {}
    for layer, shape in shapes.items():
        blobs[f"{layer}/0"] = (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(
            "float32"
        )
        blobs[f"{layer}/1"] = random.normal(size=shape[0]).astype("float32")
    return blobs


def write(path, blobs):
    np.savez(path, **blobs)
    return path


def caffe_forward(blobs, pixels, *, mean=(104, 117, 123), scale=1.0, channels="BGR"):
    """CaffeNet on RGB `pixels` [B, H, W, 3]: blobs [B, C, H, W], pooling that rounds up, LRN after
    it, fully connected over C, H, W.
    """
    x = (pixels[..., ::-1] if channels == "BGR" else pixels).astype(float) - np.array(mean)
    x = (x * scale).transpose(0, 3, 1, 2)
    outputs = {}
    for layer in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        weights, side = blobs[f"{layer}/0"].astype(float), PADDING.get(layer, 0)
        x = np.pad(x, [[0, 0], [0, 0], [side, side], [side, side]])
        groups, stride = GROUPS.get(layer, 1), 4 if layer == "conv1" else 1
        parts = []
        for part, kernel in zip(np.split(x, groups, 1), np.split(weights, groups, 0), strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(part, weights.shape[2:], (2, 3))[
                :, :, ::stride, ::stride
            ]
            parts.append(np.einsum("bchwij,ocij->bohw", windows, kernel))
        x = outputs[layer] = np.maximum(
            np.concatenate(parts, 1) + blobs[f"{layer}/1"][:, None, None], 0
        )
        if layer in ("conv1", "conv2", "conv5"):
            size = -(-(x.shape[2] - 3) // 2) + 1
            x = np.stack(
                [
                    np.stack(
                        [
                            x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((2, 3))
                            for j in range(size)
                        ],
                        -1,
                    )
                    for i in range(size)
                ],
                2,
            )
        if layer in ("conv1", "conv2"):
            squares = np.pad(x**2, [[0, 0], [2, 2], [0, 0], [0, 0]])
            x = x / (1 + 1e-4 / 5 * sum(squares[:, i : i + x.shape[1]] for i in range(5))) ** 0.75
    outputs["pool5"] = x
    for layer in ("fc6", "fc7"):
        x = outputs[layer] = np.maximum(
            x.reshape(len(x), -1) @ blobs[f"{layer}/0"].T.astype(float) + blobs[f"{layer}/1"], 0
        )
    return {
        name: value.transpose(0, 2, 3, 1) if value.ndim == 4 else value
        for name, value in outputs.items()
    }


def pixels(side=67, count=2):
    return np.random.default_rng(1).integers(0, 256, [count, side, side, 3], np.uint8)


def agree(backbone, expected, images, tolerance=1e-4):
    found = backbone(backbone.normalize(images), training=False)
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name], value, rtol=tolerance, atol=tolerance * np.abs(value).max(), err_msg=name
        )


def test_a_caffemodels_arrays_compute_what_caffe_computes(tmp_path):
    side = 131  # pool5 is 3x3: the order of its channels, rows and columns shows in fc6.
    blobs = caffe_blobs(shapes=CAFFE | dict(fc6=(12, 24 * 9)))
    path = write(tmp_path / "caffenet.npz", blobs)
    backbone = import_backbone(path, AlexNet, **dict(SMALL, image_size=side))
    assert backbone.get_layer("pool5").output.shape[1:3] == (3, 3)
    agree(backbone, caffe_forward(blobs, pixels(side)), pixels(side))
    told = backbone.weights_from
    assert told["importer"] == "caffe" and told["file"] == str(path) and len(told["sha256"]) == 64
    assert told["first_layer_was"] == dict(channels="BGR", mean=[123, 117, 104], scale=1)
    save_backbone(backbone, tmp_path)
    assert load_backbone(tmp_path).weights_from["weights_from"] == told


@pytest.mark.parametrize("channels", ["BGR", "RGB"])
def test_other_means_scales_and_orders_of_channels(tmp_path, channels):
    facts = dict(
        input_mean=np.array([10.0, 120.5, 90.0]),
        input_scale=np.float32(0.017),
        input_channels=np.array(channels),
    )
    path = write(tmp_path / "a.npz", caffe_blobs(2) | facts)
    expected = caffe_forward(
        caffe_blobs(2), pixels(), mean=(10, 120.5, 90), scale=np.float32(0.017), channels=channels
    )
    backbone = import_backbone(path, AlexNet, **SMALL)
    agree(backbone, expected, pixels())
    save_backbone(backbone, tmp_path)
    loaded = load_backbone(tmp_path)
    assert loaded.input_mean == ((90, 120.5, 10) if channels == "BGR" else (10, 120.5, 90))
    agree(loaded, expected, pixels())


def test_names_and_shapes_as_they_are_found_elsewhere(tmp_path):
    """Old models keep four dimensions for everything; other scripts write conv1_w, conv1.bias,
    conv1/weights.
    """
    blobs = caffe_blobs(3)
    written = {}
    for key, blob in blobs.items():
        layer, number = key.split("/")
        old = blob.reshape((1,) * (4 - blob.ndim) + blob.shape)
        written[
            dict(
                conv1="conv1_" + "wb"[int(number)], conv2="conv2." + ("weight", "bias")[int(number)]
            ).get(layer, key)
        ] = old
    backbone = import_backbone(write(tmp_path / "a.npz", written), AlexNet, **SMALL)
    agree(backbone, caffe_forward(blobs, pixels()), pixels())


def test_vgg16_of_caffe_names_and_mean(tmp_path):
    network = VGG16(width_multiplier=0.1, fc_units=(), input_mean=(123.68, 116.779, 103.939))
    blobs = {}
    for number, layer in enumerate(network.convolutions()):
        kernel, bias = layer.get_weights()
        bias = np.random.default_rng(number).normal(size=bias.shape).astype("float32")
        layer.set_weights([kernel, bias])
        kernel = kernel[:, :, ::-1] if layer.name == "conv1_1" else kernel
        blobs |= {f"{layer.name}/0": kernel.transpose(3, 2, 0, 1), f"{layer.name}/1": bias}
    found = import_backbone(
        write(tmp_path / "vgg.npz", blobs), VGG16, width_multiplier=0.1, fc_units=()
    )
    for ours, theirs in zip(found.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert found.input_mean == network.input_mean


@pytest.fixture(scope="module")
def applications(tmp_path_factory):
    """keras.applications' VGG16 with random weights and biases, without and with a top that is
    published by name only.
    """
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
    images = pixels(224, 1)
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
    images = pixels(224, 1)
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


def without(blobs, *names):
    return {key: value for key, value in blobs.items() if key not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda b: without(b, "conv3/0"),
            "no conv3/0 .weights of conv3.; its layers are conv1, conv2, conv3, conv4, conv5, fc6, "
            "fc7$",
        ),
        (lambda b: without(b, "fc6/1"), "no fc6/1 .biases of fc6."),
        (lambda b: dict(unrelated=np.zeros(3)), "no conv1/0 .*its layers are none"),
        (
            lambda b: b | {"conv2/0": b["conv2/0"][:-1]},
            r"conv2/0 has shape \[23, 4, 5, 5\], the network being built has \[24, 4, 5, 5\]",
        ),
        (
            lambda b: b | {"conv2/0": b["conv2/0"].transpose(2, 3, 1, 0)},
            r"conv2/0 has shape \[5, 5, 4, 24\]",
        ),
        (
            lambda b: b | {"fc7/0": b["fc7/0"].T},
            r"fc7/0 has shape \[12, 6\], the network being built has \[6, 12\]",
        ),
        (
            lambda b: b | {"conv1/1": np.array([{}] * 8)},
            "conv1/1 is not a plain array of numbers .object",
        ),
        (lambda b: b | {"conv1/1": np.array(["x"] * 8)}, "conv1/1 is not a plain array of numbers"),
        (
            lambda b: b | dict(input_channels=np.array("HSV")),
            "input_channels is HSV; it must be BGR or RGB",
        ),
        (lambda b: b | dict(input_scale=np.array(-1.0)), "the scale positive"),
        (lambda b: b | dict(input_mean=np.zeros(4)), r"input_mean has shape \[4\]"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(tmp_path, change, message):
    path = write(tmp_path / "a.npz", change(caffe_blobs()))
    with pytest.raises(InputError, match=message) as caught:
        import_backbone(path, AlexNet, **SMALL)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path):
    for name in ("a.npy", "a.caffemodel", "a.pth", "none.npz"):
        if not name.startswith("none"):
            (tmp_path / name).write_bytes(b"x")
        with pytest.raises(
            InputError, match=f"{name}: (no such file|not .npz or .h5; there are importers for)"
        ):
            import_backbone(tmp_path / name, AlexNet, **SMALL)
    path = write(tmp_path / "a.npz", caffe_blobs())
    with pytest.raises(
        InputError,
        match="published weights have no batch normalisation; leave --normalization=batch_norm out",
    ):
        import_backbone(path, AlexNet, normalization="batch_norm")
    h5py.File(tmp_path / "a.h5", "w").close()
    with pytest.raises(
        InputError,
        match="a.h5: an .h5 file holds weights of keras.applications; .* --backbone=vgg16",
    ):
        import_backbone(tmp_path / "a.h5", AlexNet)
    with pytest.raises(
        InputError, match="a.h5: no kernel of block1_conv1 .*; is it keras.applications' VGG16"
    ):
        import_backbone(tmp_path / "a.h5", VGG16, fc_units=())


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


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_damaged_files_are_damaged(tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    kind, arguments = (
        (AlexNet, SMALL) if suffix == ".npz" else (VGG16, dict(width_multiplier=0.05, fc_units=()))
    )
    if suffix == ".npz":
        write(whole, caffe_blobs())
    else:
        with h5py.File(whole, "w") as file:
            for layer in VGG16(**arguments).convolutions():
                block, number = layer.name[4:].split("_")
                for name, weight in zip(("kernel", "bias"), layer.get_weights(), strict=True):
                    file[f"block{block}_conv{number}/{name}"] = weight
    import_backbone(whole, kind, **arguments)
    content, path = whole.read_bytes(), tmp_path / f"damaged{suffix}"
    for damaged in (b"", b"not one" * 100, content[: len(content) // 2], content[:100]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptArtifactError, match=f"damaged{suffix}: damaged") as caught:
            import_backbone(path, kind, **arguments)
        assert "\n" not in str(caught.value)
    if suffix == ".npz":  # A zip archive carries checksums; HDF5 files of Keras do not.
        at = content.index(caffe_blobs()["conv3/0"].tobytes()[:64]) + 40
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(CorruptArtifactError, match="conv3/0 is damaged"):
            import_backbone(path, kind, **arguments)


@pytest.mark.parametrize("order", ["caffenet", "bvlc"])
def test_flags_start_a_network_from_published_weights(tmp_path, order):
    """--init_backbone=FILE.npz: the standard stem and LRN, also on small images; fc6 and fc7 in the
    file are passed over.
    """
    path = write(tmp_path / "caffenet.npz", caffe_blobs())
    with flagsaver.flagsaver(
        init_backbone=str(path), width_multiplier=0.1, image_size=64, alexnet_order=order
    ):
        network = registry.build_backbone()
    config = network.get_config()
    assert {key: config[key] for key in ("stem", "order", "normalization", "conv1_stride")} == dict(
        stem="standard", order=order, normalization="lrn", conv1_stride=2
    )
    np.testing.assert_array_equal(
        network.get_layer("conv4").kernel, caffe_blobs()["conv4/0"].transpose(2, 3, 1, 0)
    )
    assert network.weights_from["importer"] == "caffe" and "fc6" not in network.endpoint_names


def test_flags_start_vgg16_from_keras_applications(applications):
    path = pathlib.Path(applications[0]) / "notop.h5"
    with flagsaver.flagsaver(init_backbone=str(path), backbone="vgg16", image_size=64):
        network = registry.build_backbone()
    assert network.get_config()["normalization"] == "none"
    agree(network, {"conv5_3": applications[2]["conv5_3"]}, applications[1])

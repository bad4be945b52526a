"""Weights of Caffe's arrays compute what Caffe computes: its layers written in NumPy."""

import keras
import numpy as np
import pytest

from ccssl_tf.models import VGG16, AlexNet, load_backbone, save_backbone
from ccssl_tf.models.alexnet import AlexNetSettings
from ccssl_tf.models.caffe_arrays import write_caffe_arrays
from ccssl_tf.models.importers import import_backbone
from ccssl_tf.models.start import NetworkSettings, Start
from ccssl_tf.runs.errors import CcsslError, CorruptArtifactError

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
    """Returns the outputs of CaffeNet's layers for RGB `pixels` [B, H, W, 3].

    Blobs are [B, C, H, W], pooling rounds up, LRN follows it, fully connected layers count C, H, W.
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


@pytest.mark.parametrize("kind", [AlexNet, VGG16])
def test_what_is_written_is_read_back(tmp_path, kind):
    side = 131 if kind is AlexNet else 96  # pool5 is 3x3.
    arguments = dict(SMALL, image_size=side, input_mean=(90.0, 120.5, 10.0))
    backbone = kind(**arguments)
    head = keras.layers.Dense(4, name="logits")
    head(backbone.output["fc7"])
    for layer in (*backbone.layers, head):
        weights = [np.random.default_rng(5).normal(size=w.shape) for w in layer.get_weights()]
        layer.set_weights(weights)
    write_caffe_arrays(tmp_path / "a.npz", backbone, [head])
    with np.load(tmp_path / "a.npz") as written:
        assert written["fc6/0"].shape == (12, 9 * backbone.output["pool5"].shape[3])
        assert written["logits/0"].shape == (4, 6) and written["input_mean"][0] == 10
        np.testing.assert_array_equal(
            written["fc6/0"].reshape(12, -1, 3, 3)[1, 2, 0, 1],
            backbone.get_layer("fc6").kernel[backbone.output["pool5"].shape[3] + 2, 1],
        )
    imported = import_backbone(tmp_path / "a.npz", kind, **arguments)
    assert imported.input_mean == backbone.input_mean
    for ours, theirs in zip(backbone.get_weights(), imported.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_caffe_computes_the_same_of_what_is_written(tmp_path):
    path = write(tmp_path / "caffenet.npz", caffe_blobs(4))
    backbone = import_backbone(path, AlexNet, **SMALL)
    write_caffe_arrays(tmp_path / "again.npz", backbone)
    with np.load(tmp_path / "again.npz") as again:
        blobs = dict(again)
        agree(backbone, caffe_forward(blobs, pixels(), mean=again["input_mean"]), pixels())
    for name, blob in caffe_blobs(4).items():
        np.testing.assert_array_equal(blobs[name], blob)


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
    # Old models keep four dimensions for everything; other scripts write conv1_w, conv1.bias,
    # conv1/weights.
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
            "conv1/1: damaged .holds Python objects",
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
    with pytest.raises(CcsslError, match=message) as caught:
        import_backbone(path, AlexNet, **SMALL)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_damaged_files_are_damaged(tmp_path):
    whole = write(tmp_path / "whole.npz", caffe_blobs())
    import_backbone(whole, AlexNet, **SMALL)
    content, path = whole.read_bytes(), tmp_path / "damaged.npz"
    for damaged in (b"", b"not one" * 100, content[: len(content) // 2], content[:100]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptArtifactError, match="damaged.npz: damaged") as caught:
            import_backbone(path, AlexNet, **SMALL)
        assert "\n" not in str(caught.value)
    at = content.index(caffe_blobs()["conv3/0"].tobytes()[:64]) + 40
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(CorruptArtifactError, match="conv3/0: damaged"):
        import_backbone(path, AlexNet, **SMALL)


@pytest.mark.parametrize("order", ["caffenet", "bvlc"])
def test_a_network_starts_from_them(tmp_path, order):
    # The stem is the standard one with LRN, also on small images; fc6 and fc7 in the file are
    # passed over.
    path = write(tmp_path / "caffenet.npz", caffe_blobs())
    settings = AlexNetSettings(width_multiplier=0.1, alexnet_order=order)
    network = Start(
        dict(alexnet=AlexNet), NetworkSettings(init_backbone=str(path)), [settings], image_size=64
    ).build()
    config = network.get_config()
    assert {key: config[key] for key in ("stem", "order", "normalization", "conv1_stride")} == dict(
        stem="standard", order=order, normalization="lrn", conv1_stride=2
    )
    np.testing.assert_array_equal(
        network.get_layer("conv4").kernel, caffe_blobs()["conv4/0"].transpose(2, 3, 1, 0)
    )
    assert network.weights_from["importer"] == "caffe" and "fc6" not in network.endpoint_names

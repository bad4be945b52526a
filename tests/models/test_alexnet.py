"""AlexNet's sizes are those of BVLC's published prototxts, its values those of a NumPy network."""

import math

import keras
import numpy as np
import pytest

from ccssl_tf.models import VGG16, AlexNet
from ccssl_tf.models.alexnet import AlexNetSettings
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.runs.errors import FlagError, InputError

# Weights and biases of bvlc_alexnet.caffemodel and bvlc_reference_caffenet.caffemodel: the same in
# both prototxts, from num_output, kernel_size and group, e.g. conv2: 256 outputs x (5 x 5 x 96 / 2
# inputs + 1 bias); fc8 (1000 classes) is a head here.
PARAMETERS = dict(
    conv1=34944, conv2=307456, conv3=885120, conv4=663936, conv5=442624, fc6=37752832, fc7=16781312
)
CLASSES, TOTAL = 4097000, 60965224


@pytest.fixture(scope="module")
def bare():
    return AlexNet()


def test_parameters_of_the_full_size_network(bare):
    assert {
        layer.name: layer.count_params() for layer in bare.layers if layer.name in PARAMETERS
    } == PARAMETERS
    assert sum(weight.value.shape.num_elements() for weight in bare.trainable_weights) == sum(
        PARAMETERS.values()
    )


def test_parameters_per_layer_follow_from_the_prototxt(bare):
    """num_output, kernel_size, group and the blob below, as written in deploy.prototxt."""
    below, found = 3, {}
    for layer, outputs, kernel, groups in (
        ("conv1", 96, 11, 1),
        ("conv2", 256, 5, 2),
        ("conv3", 384, 3, 1),
        ("conv4", 384, 3, 2),
        ("conv5", 256, 3, 2),
    ):
        found[layer], below = outputs * (below // groups * kernel * kernel + 1), outputs
    found |= dict(fc6=4096 * (256 * 6 * 6 + 1), fc7=4096 * (4096 + 1))
    assert found == PARAMETERS
    classifier = build_classifier(bare, 1000, 227)
    assert classifier.get_layer("logits").count_params() == CLASSES
    assert sum(PARAMETERS.values()) + CLASSES == TOTAL


def test_settings_choose_order_sizes_and_dropout():
    sizes = dict(fc_units=(24, 16), dropout_rate=0.1, width_multiplier=0.1)
    settings = AlexNetSettings(alexnet_order="bvlc", conv1_stride=2, **sizes)
    network = AlexNet.from_settings(settings, image_size=131, with_fc=True)
    vgg16 = VGG16.from_settings(VGG16.Settings(**sizes), image_size=128, with_fc=True)
    config = network.get_config()
    assert (config["order"], config["conv1_stride"], config["normalization"]) == ("bvlc", 2, "lrn")
    for each in (network, vgg16):
        assert each.get_layer("fc6").units == 24 and each.get_layer("fc7").units == 16
        assert each.get_layer("fc6_dropout").rate == each.get_layer("fc7_dropout").rate == 0.1
    config = AlexNet.from_settings(AlexNetSettings(), image_size=131).get_config()
    assert config["order"] == "caffenet"


@pytest.mark.parametrize("units", [(24,), (24, "x"), (24, 0), (1, 2, 3)])
def test_sizes_that_are_no_two_numbers_are_refused(units):
    with pytest.raises(FlagError, match=f"^--fc_units={','.join(map(str, units))}: "):
        AlexNetSettings(fc_units=units)


@pytest.mark.parametrize("argument", ["order", "stem", "normalization"])
def test_misspelt_arguments_are_refused(argument):
    with pytest.raises(InputError, match=f"{argument}: must be .* or .*, not lnr"):
        AlexNet(**{argument: "lnr"}, fc_units=())


def test_endpoints_at_227(bare):
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in bare.output.items()}
    assert shapes == dict(
        conv1=(55, 55, 96),
        conv2=(27, 27, 256),
        conv3=(13, 13, 384),
        conv4=(13, 13, 384),
        conv5=(13, 13, 256),
        pool5=(6, 6, 256),
        fc6=(4096,),
        fc7=(4096,),
    )
    assert bare.endpoint_names == list(shapes)
    assert bare.input_shape == (None, 227, 227, 3)
    assert [layer.name for layer in bare.convolutions()] == [
        "conv1",
        "conv2",
        "conv3",
        "conv4",
        "conv5",
    ]


@pytest.mark.parametrize(
    ("order", "expected"), [("caffenet", ["pool1", "norm1"]), ("bvlc", ["norm1", "pool1"])]
)
def test_order_of_pooling_and_normalisation(order, expected):
    network = AlexNet(order=order, fc_units=(), width_multiplier=0.1)
    names = [layer.name for layer in network.layers]
    assert [name for name in names if name in ("pool1", "norm1")] == expected
    assert [name for name in names if name in ("pool2", "norm2")] == [
        name.replace("1", "2") for name in expected
    ]
    assert "norm5" not in names


@pytest.mark.parametrize(("order", "bias"), [("caffenet", 1), ("bvlc", 0.1)])
def test_initial_weights_are_the_prototxts(order, bias):
    network = AlexNet(order=order, image_size=67, fc_units=(64, 64))
    for name in ("conv2", "conv4", "conv5", "fc6", "fc7"):
        np.testing.assert_allclose(network.get_layer(name).bias, bias, err_msg=name)
    for name in ("conv1", "conv3"):
        assert np.all(network.get_layer(name).bias == 0)
    for name, deviation in (("conv1", 0.01), ("conv2", 0.01), ("conv5", 0.01), ("fc6", 0.005)):
        assert np.std(network.get_layer(name).kernel) == pytest.approx(deviation, rel=0.05)


def test_tiles_of_64_pixels_with_stride_2():
    """As the released Jigsaw++ network: 64 -> 27 -> 13 -> 13 -> 6 -> 6 -> 3.

    That needs pooling that rounds up.
    """
    network = AlexNet(conv1_stride=2, fc_units=(), width_multiplier=0.1)
    shapes = {
        name: tensor.shape[1:3]
        for name, tensor in network(np.zeros([1, 64, 64, 3], "float32")).items()
    }
    assert shapes == dict(
        conv1=(27, 27), conv2=(13, 13), conv3=(6, 6), conv4=(6, 6), conv5=(6, 6), pool5=(3, 3)
    )


@pytest.mark.parametrize("size", [64, 16, 33])
def test_small_stem(size):
    network = AlexNet(stem="small", normalization="batch_norm", fc_units=(), width_multiplier=0.25)
    half, quarter, eighth = (-(-size // part) for part in (2, 4, 8))
    outputs = network(np.zeros([2, size, size, 3], "float32"))
    assert {name: tuple(tensor.shape) for name, tensor in outputs.items()} == dict(
        conv1=(2, half, half, 24),
        conv2=(2, quarter, quarter, 64),
        conv3=(2, eighth, eighth, 96),
        conv4=(2, eighth, eighth, 96),
        conv5=(2, eighth, eighth, 64),
    )
    assert network.get_layer("conv1").kernel.shape == (5, 5, 3, 24)
    assert [layer.use_bias for layer in network.convolutions()] == [False] * 5


def test_small_stem_with_local_response_normalisation():
    names = [
        layer.name for layer in AlexNet(stem="small", fc_units=(), width_multiplier=0.1).layers
    ]
    assert [name for name in names if name.startswith(("pool", "norm"))] == [
        "pool1",
        "norm1",
        "pool2",
        "norm2",
    ]


def convolve(x, layer, groups, stride=1, padding=0):
    """Caffe's convolution in NumPy, followed by its rectifier."""
    kernel, bias = (np.float64(weight) for weight in layer.get_weights())
    x = np.pad(x, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    size, outputs = kernel.shape[0], []
    for x_group, k_group in zip(np.split(x, groups, -1), np.split(kernel, groups, -1), strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(x_group, (size, size), (1, 2))[
            :, ::stride, ::stride
        ]
        outputs.append(np.einsum("bhwcij,ijco->bhwo", windows, k_group))
    return np.maximum(np.concatenate(outputs, -1) + bias, 0)


def pool(x):
    side = -(-(x.shape[1] - 3) // 2) + 1
    cells = [
        [x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2)) for j in range(side)]
        for i in range(side)
    ]
    return np.stack([np.stack(row, 1) for row in cells], 1)


def normalize(x):
    squares = np.pad(x**2, [[0, 0]] * 3 + [[2, 2]])
    energy = sum(squares[..., offset : offset + x.shape[-1]] for offset in range(5))
    return x / (1 + 1e-4 / 5 * energy) ** 0.75


@pytest.mark.parametrize("order", ["caffenet", "bvlc"])
def test_values_are_those_of_the_network_in_numpy(order):
    keras.utils.set_random_seed(0)
    network = AlexNet(order=order, image_size=67, width_multiplier=0.1, fc_units=(20, 10))
    for layer in network.convolutions():
        layer.kernel.assign(keras.random.normal(layer.kernel.shape, stddev=0.1))
    images = np.random.default_rng(1).normal(size=[2, 67, 67, 3]) * 60
    between = [pool, normalize] if order == "caffenet" else [normalize, pool]
    expected, x = {}, images
    for name, groups, stride, padding in (
        ("conv1", 1, 4, 0),
        ("conv2", 2, 1, 2),
        ("conv3", 1, 1, 1),
        ("conv4", 2, 1, 1),
        ("conv5", 2, 1, 1),
    ):
        x = expected[name] = convolve(x, network.get_layer(name), groups, stride, padding)
        for stage in between if name in ("conv1", "conv2") else ():
            x = stage(x)
    x = expected["pool5"] = pool(x)
    x = x.reshape(2, -1)
    for name in ("fc6", "fc7"):
        kernel, bias = network.get_layer(name).get_weights()
        x = expected[name] = np.maximum(x @ kernel + bias, 0)
    found = network(images.astype("float32"), training=False)
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name], value, rtol=1e-3, atol=1e-4 * np.abs(value).max(), err_msg=name
        )


def test_channels_scale_by_eights():
    network = AlexNet(width_multiplier=0.3, fc_units=())
    assert [layer.filters for layer in network.convolutions()] == [32, 80, 112, 112, 80]


@pytest.mark.parametrize("order", ["caffenet", "bvlc"])
def test_padded_maps_lie_over_the_image_as_in_fast_rcnn(order):
    """conv1 pad 5, pools pad 1: cell i of conv5 is centred at pixel 16 i.

    There are Caffe's numbers of them.
    """
    padded = AlexNet(order=order, is_padded=True, width_multiplier=0.05, fc_units=())
    plain = AlexNet(order=order, width_multiplier=0.05, fc_units=())
    assert padded.architecture() == plain.architecture()
    for side in (600, 375, 500, 801):
        conv1 = (side + 10 - 11) // 4 + 1
        pool1 = math.ceil((conv1 + 2 - 3) / 2) + 1
        pool2 = math.ceil((pool1 + 2 - 3) / 2) + 1
        shapes = padded.compute_output_shape([1, side, side, 3])
        assert [shapes[name][1] for name in ("conv1", "conv2", "conv5")] == [conv1, pool1, pool2]
    assert AlexNet.from_config(padded.get_config()).get_config()["is_padded"]

"""What backbones share: the input convention, and convolutions that another network starts from."""

import numpy as np
import pytest

from ccssl_tf.models import VGG16, AlexNet
from ccssl_tf.models.backbone import copy_convolutions
from ccssl_tf.models.backbone_file import backbone_fingerprint
from ccssl_tf.runs.errors import InputError

SMALL = dict(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())


def images(size=32):
    return (np.random.default_rng(0).normal(size=[2, size, size, 3]) * 60).astype("float32")


def test_input_convention():
    pixels = np.array([[[[123, 117, 104], [0, 255, 7]]]], "uint8")
    found = AlexNet(**SMALL).normalize(pixels)
    assert found.dtype == "float32"
    np.testing.assert_array_equal(found, [[[[0, 0, 0], [-123, 138, -97]]]])


def test_convolutions_are_copied_and_the_rest_is_not():
    source, random = AlexNet(**SMALL), np.random.default_rng(5)
    # Every weight other than its start, those of batch normalisation too.
    source.set_weights([random.uniform(0.5, 2, weight.shape) for weight in source.get_weights()])
    target = AlexNet(**SMALL)
    copy_convolutions(source, target, "source")
    for name, value in source(images()).items():
        np.testing.assert_array_equal(target(images())[name], value)
    tiles = AlexNet(width_multiplier=0.1, fc_units=(), conv1_stride=2)
    whole = AlexNet(width_multiplier=0.1, fc_units=(9, 8), image_size=67)
    fc6 = whole.get_layer("fc6").get_weights()
    copy_convolutions(tiles, whole, "tiles")
    np.testing.assert_array_equal(whole.get_layer("conv5").kernel, tiles.get_layer("conv5").kernel)
    np.testing.assert_array_equal(whole.get_layer("fc6").kernel, fc6[0])


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (
            lambda: AlexNet(**dict(SMALL, width_multiplier=0.2)),
            r"kernel of conv1 is \[5, 5, 3, 16, 1\], .* has \[5, 5, 3, 8, 1\]",
        ),
        (
            lambda: AlexNet(**dict(SMALL, stem="standard")),
            r"kernel of conv1 is \[11, 11, 3, 8, 1\]",
        ),
        (
            lambda: AlexNet(**dict(SMALL, normalization="lrn")),
            "normalization is lrn, .* has batch_norm",
        ),
        (lambda: AlexNet(**dict(SMALL, order="bvlc")), "order is bvlc, .* has caffenet"),
        (lambda: VGG16(width_multiplier=0.1, fc_units=()), "type is VGG16, .* has AlexNet"),
    ],
)
def test_another_architecture_is_refused_by_name(other, named):
    target = AlexNet(**SMALL)
    before = backbone_fingerprint(target)
    with pytest.raises(InputError, match=f"^runs/a: another architecture: {named}") as caught:
        copy_convolutions(other(), target, "runs/a")
    assert "\n" not in str(caught.value)
    assert backbone_fingerprint(target) == before


def test_fully_connected_layers_are_copied_only_on_demand():
    def network(size=32, units=(6, 5)):
        return AlexNet(stem="small", width_multiplier=0.05, fc_units=units, image_size=size)

    source = network()
    for keep_fc in (False, True):
        target = network()
        copy_convolutions(source, target, "file", keep_fc)
        np.testing.assert_array_equal(
            target.get_layer("conv5").kernel, source.get_layer("conv5").kernel
        )
        for name in ("fc6", "fc7"):
            assert (
                np.array_equal(target.get_layer(name).kernel, source.get_layer(name).kernel)
                == keep_fc
            )
    with pytest.raises(
        InputError,
        match="file: its fc6 is .*, the network being built has .*; keep its --image_size",
    ):
        copy_convolutions(network(64), network(), "file", keep_fc=True)
    with pytest.raises(InputError, match="file: has no fc6 to keep"):
        copy_convolutions(network(units=()), network(), "file", keep_fc=True)


def test_batch_normalisation_of_a_random_network_passes_on_what_it_gets():
    normalized, plain = AlexNet(**SMALL), AlexNet(**SMALL | dict(normalization="none"))
    for layer in plain.convolutions():
        layer.kernel.assign(normalized.get_layer(layer.name).kernel)
        layer.bias.assign(np.zeros(layer.bias.shape))
    ours, theirs = normalized(images(), training=False), plain(images(), training=False)
    for name, value in theirs.items():
        np.testing.assert_allclose(
            ours[name], value, rtol=1e-3, atol=1e-5 * float(np.abs(value).max()), err_msg=name
        )

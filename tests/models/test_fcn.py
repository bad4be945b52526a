"""The published networks' numbers, the bilinear kernels, and convolutions from fc layers."""

import keras
import numpy as np
import pytest

from ccssl_tf.models import Application, save_backbone
from ccssl_tf.models import fcn as lib
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone_file import load_model, save_model
from ccssl_tf.models.map_grid import Grid, endpoint_grids
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.runs.errors import InputError


def alexnet(**changes):
    return AlexNet(**dict(width_multiplier=0.05, fc_units=()) | changes)


def small_alexnet():
    return alexnet(stem="small", normalization="batch_norm")


def vgg16(**changes):
    return VGG16(**dict(width_multiplier=0.05, fc_units=()) | changes)


def build(backbone, **changes):
    return lib.build_fcn(backbone, 5, **dict(fc_units=(8, 8)) | changes)


def randomize_scores(model, seed=0):
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.name.startswith("score"):
            layer.set_weights([random.normal(size=weight.shape) for weight in layer.weights])
    return model


def crop_offset(model):
    """Caffe's offset of the crop behind a deconvolution whose kernel is 2 strides.

    The kernel is one less where cells lie on pixels.
    """
    layer = model.get_layer("logits")
    kernel = 2 * layer.stride - (layer.start == int(layer.start))
    return kernel, layer.stride, (kernel - 1) / 2 - layer.start


def test_kernels_strides_and_crops_of_the_published_networks():
    assert crop_offset(build(alexnet())) == (63, 32, 18)
    assert crop_offset(build(vgg16())) == crop_offset(build(vgg16(), stride=32)) == (64, 32, 19)
    model = build(vgg16(), stride=16)
    assert crop_offset(model) == (32, 16, 27) and model.get_layer("fused_16").first == 5
    model = build(vgg16(), stride=8)
    assert crop_offset(model) == (16, 8, 31) and [
        model.get_layer(f"fused_{stride}").first for stride in (16, 8)
    ] == [5, 9]


def bilinear_kernel(size):
    """[size, size] of the published networks' upsampling."""
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    line = 1 - np.abs(np.arange(size) - centre) / factor
    return line[:, None] * line[None]


def deconvolution(maps, size, stride):
    """Caffe's, by loops: [h, w, C] -> [(h - 1) stride + size, ...]."""
    height, width, channels = maps.shape
    result, kernel = (
        np.zeros([(height - 1) * stride + size, (width - 1) * stride + size, channels]),
        bilinear_kernel(size),
    )
    for y in range(height):
        for x in range(width):
            result[y * stride : y * stride + size, x * stride : x * stride + size] += (
                kernel[..., None] * maps[y, x]
            )
    return result


@pytest.mark.parametrize(
    ("size", "stride", "offset"), [(63, 32, 18), (64, 32, 19), (32, 16, 27), (16, 8, 31), (4, 2, 1)]
)
def test_upsampling_is_the_cropped_deconvolution(size, stride, offset):
    maps = np.random.default_rng(size).normal(size=[1, 5, 7, 3]).astype(np.float32)
    expected = deconvolution(maps[0], size, stride)[offset:, offset:][
        : 3 * stride, : 4 * stride + 1
    ]
    found = lib.upsample(maps, *expected.shape[:2], Grid(stride, (size - 1) / 2 - offset))
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-5)


def test_fused_scores_are_the_doubled_ones_and_the_cropped_finer_ones():
    random = np.random.default_rng(0)
    coarse, fine = (
        random.normal(size=[1, *size, 3]).astype(np.float32) for size in ((4, 3), (30, 30))
    )
    expected = deconvolution(coarse[0], 4, 2) + fine[0, 5:15, 5:13]
    np.testing.assert_allclose(lib.FusedScores(5)(coarse, fine)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [alexnet, small_alexnet, vgg16])
def test_every_pixel_of_images_of_any_size_lies_between_cells(make):
    backbone = make()
    model = build(backbone)
    layer, before = model.get_layer("logits"), model.get_layer("padding")
    for size in (1, 9, 33, 64, 100, 227, 333, 374, 375, 499, 500, 501):
        padded = before.compute_output_shape([1, size, size, 3])
        cells = (
            backbone.compute_output_shape(padded)[backbone.endpoint_names[-1]][1]
            - model.get_layer("fc6").kernel_size[0]
            + 1
        )
        weights = np.asarray(lib.tents(size, cells, Grid(layer.stride, layer.start)))
        # Beyond the outermost centres one cell alone decides, with less weight, as in Caffe.
        assert weights.sum(1).min() > 0.4 and weights.sum(1).max() < 1.00001, size
        shape = model.compute_output_shape([1, size, size, 3])["logits"]
        assert shape == (1, size, size, 5)


@pytest.mark.parametrize("make", [alexnet, small_alexnet, vgg16])
def test_an_image_moved_by_a_stride_moves_its_scores(make):
    model = randomize_scores(build(make()))
    stride = model.get_layer("logits").stride
    image = np.zeros([1, 11 * stride, 11 * stride, 3], np.float32)
    image[:, 5 * stride : 6 * stride, 5 * stride : 6 * stride] = np.random.default_rng(1).normal(
        0, 40, [1, stride, stride, 3]
    )
    scores, moved = (
        np.asarray(model(np.roll(image, shift, (1, 2)))["logits"])[0] for shift in (0, stride)
    )
    # Away from the edges, which windows see from far.
    scores, moved = (
        scores[4 * stride : 7 * stride, 4 * stride : 7 * stride],
        moved[5 * stride : 8 * stride, 5 * stride : 8 * stride],
    )
    assert scores.std() > 0
    np.testing.assert_allclose(moved, scores, rtol=1e-3, atol=1e-3 * np.abs(scores).max())


def test_fully_connected_layers_become_convolutions():
    for backbone in (alexnet(fc_units=(16, 8)), vgg16(fc_units=(16, 8))):
        side = backbone.input_shape[1]
        images = np.random.default_rng(0).normal(0, 50, [2, side, side, 3]).astype(np.float32)
        model = build(backbone)
        assert model.backbone.endpoint_names == backbone.endpoint_names[:-2]
        pool5 = model.backbone(images)["pool5"]
        fc6 = model.get_layer("fc6")(pool5)
        fc7 = model.get_layer("fc7")(fc6)
        expected = backbone(images)
        for name, found in (("fc6", fc6), ("fc7", fc7)):
            np.testing.assert_allclose(
                np.asarray(found)[:, 0, 0], expected[name], rtol=1e-4, atol=1e-4
            )


def test_scores_start_at_zero_and_nothing_is_learned_by_upsampling():
    model = build(vgg16(), stride=8)
    assert np.abs(model(np.ones([1, 40, 50, 3], np.float32) * 50)["logits"]).max() == 0
    learned = {layer.name for layer in model.layers if layer.trainable_weights} - {"vgg16"}
    assert learned == {"fc6", "fc7", "score", "score_16", "score_8"}


def test_networks_without_fully_connected_layers_are_scored_at_their_last_map():
    backbone = Application(network="MobileNetV2", width_multiplier=0.1)
    model = randomize_scores(build(backbone))
    grid = endpoint_grids(backbone)["conv5"]
    assert (model.get_layer("logits").stride, model.get_layer("logits").start) == (32, grid.start)
    assert model(np.ones([1, 75, 50, 3], np.float32))["logits"].shape == (1, 75, 50, 5)


def test_the_file_of_a_segmenter(tmp_path):
    model = randomize_scores(build(vgg16(), stride=16))
    save_model(model, tmp_path / lib.FILE_NAME)
    loaded = load_model(tmp_path / lib.FILE_NAME)
    images = np.random.default_rng(0).normal(0, 50, [1, 60, 90, 3]).astype(np.float32)
    np.testing.assert_allclose(
        loaded(images)["logits"], model(images)["logits"], rtol=1e-5, atol=1e-5
    )


def test_a_finer_segmenter_starts_from_a_coarse_one(tmp_path):
    coarse = randomize_scores(build(vgg16()))
    save_model(coarse, tmp_path / lib.FILE_NAME)
    finer = build(vgg16(), stride=8)
    lib.copy_segmenter(tmp_path, finer)
    for name in ("fc6", "fc7", "score"):
        for ours, theirs in zip(
            finer.get_layer(name).get_weights(), coarse.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(
        finer.backbone.get_layer("conv3_2").kernel, coarse.backbone.get_layer("conv3_2").kernel
    )
    assert not np.any(finer.get_layer("score_8").kernel)
    with pytest.raises(InputError, match="its fc6 is .*, the network being built has"):
        lib.copy_segmenter(tmp_path, build(vgg16(), fc_units=(16, 8)))
    with pytest.raises(InputError, match="another architecture"):
        lib.copy_segmenter(tmp_path, build(alexnet()))
    with pytest.raises(InputError, match="no segmenter.keras there"):
        lib.copy_segmenter(tmp_path / "none", finer)
    save_backbone(alexnet(), tmp_path)
    with pytest.raises(InputError, match="not a segmenter"):
        lib.copy_segmenter(tmp_path / "backbone.keras", finer)


def test_refusals():
    with pytest.raises(InputError, match="--fcn_stride=16: alexnet has scores of stride 32 only"):
        build(alexnet(), stride=16)
    with pytest.raises(InputError, match="--fcn_stride=32: alexnet has scores of stride 8 only"):
        build(small_alexnet(), stride=32)
    with pytest.raises(InputError, match="build the backbone for its usual image size"):
        build(alexnet(fc_units=(8, 8), image_size=255))


def test_layers_have_the_shapes_they_tell():
    images = keras.Input([None, None, 3])
    assert lib.ImagePadding(24, 2)(images).shape == (None, None, None, 3)
    assert lib.ImagePadding(24, 2).compute_output_shape([1, 63, 64, 3]) == (1, 112, 112, 3)
    assert lib.ImagePadding(24, 2)(np.ones([1, 63, 64, 3])).shape == (1, 112, 112, 3)
    assert lib.FusedScores(5).compute_output_shape([1, 4, None, 3], [1, 30, 30, 3]) == (
        1,
        10,
        None,
        3,
    )

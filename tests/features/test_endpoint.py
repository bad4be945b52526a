import keras
import numpy as np
import pytest

from ccssl_tf.data import image_batches
from ccssl_tf.features.endpoint import EndpointExtractor
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.runs.errors import FlagError, InputError

SIZE = 32


def tiny_backbone(**arguments):
    keras.utils.set_random_seed(3)
    return AlexNet(
        **dict(
            dict(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=()),
            **arguments,
        )
    )


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_endpoint_features_are_pooled_activations(image_dir, pooling):
    backbone = tiny_backbone()
    extractor = EndpointExtractor(
        backbone, endpoint="conv2", pool_grid=3, pooling=pooling, image_size=SIZE, batch_size=6
    )
    images = next(
        iter(image_batches.evaluation_images(image_dir, "val", image_size=SIZE, batch_size=16))
    )["image"].numpy()
    maps = backbone(
        images.astype(np.float32) - np.array([123, 117, 104], np.float32), training=False
    )["conv2"].numpy()
    stride = maps.shape[1] // 3
    window = maps.shape[1] - 2 * stride
    assert stride > 1
    reduce = dict(max=np.max, average=np.mean)[pooling]
    cells = [
        [
            reduce(
                maps[:, stride * y : stride * y + window, stride * x : stride * x + window],
                axis=(1, 2),
            )
            for x in range(3)
        ]
        for y in range(3)
    ]
    expected = np.transpose(np.array(cells), [2, 0, 1, 3]).reshape(16, -1)
    found = np.concatenate([features for _, features in extractor.batches(image_dir, "val", [0])])
    assert extractor.dim == expected.shape[1] == 9 * maps.shape[3]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_any_layer_is_an_endpoint_and_unknown_ones_are_refused_with_the_choices():
    backbone = tiny_backbone()
    options = dict(pool_grid=1, pooling="average", image_size=SIZE, batch_size=6)
    before_the_rectifier = EndpointExtractor(backbone, endpoint="conv3_norm", **options)
    assert before_the_rectifier.rows(np.zeros([2, SIZE, SIZE, 3], np.uint8)).shape == (
        2,
        before_the_rectifier.dim,
    )
    with pytest.raises(
        InputError,
        match="--endpoint=conv9: this network has conv1, conv2, .*, and the layers images, .* more "
        ".*, conv5_relu",
    ):
        EndpointExtractor(backbone, endpoint="conv9", **options)


def test_the_paper_s_settings_are_the_defaults():
    settings = EndpointExtractor.Settings()
    assert (settings.endpoint, settings.pool_grid, settings.pooling) == ("conv4", 5, "max")
    assert (settings.image_size, settings.batch_size) == (227, 256)


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        (dict(pool_grid=0), "--pool_grid=0: must be 1 or more"),
        (dict(pooling="sum"), "--pooling=sum: must be one of max, average"),
        (dict(image_size=7), "--image_size=7: "),
        (dict(batch_size=0), "--batch_size=0: "),
    ],
)
def test_settings_that_cannot_be_right(values, flag):
    with pytest.raises(FlagError, match=f"^{flag}"):
        EndpointExtractor.Settings(**values)


def test_methods_work_in_any_order(image_dir):
    options = dict(endpoint="conv3", image_size=SIZE, batch_size=6)
    first, second = (EndpointExtractor(tiny_backbone(), **options) for _ in range(2))
    described = first.describe()
    first.check(image_dir, "val")
    first.prepare(image_dir, "val", None)
    assert first.inputs() == {}
    for (index, rows), (other_index, other_rows) in zip(
        first.batches(image_dir, "val", [0]), second.batches(image_dir, "val", [0]), strict=True
    ):
        np.testing.assert_array_equal(index, other_index)
        np.testing.assert_array_equal(rows, other_rows)
    assert second.describe() == first.describe() == described

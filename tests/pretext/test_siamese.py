import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.pretext import siamese
from ccssl_tf.runs.errors import InputError


def make_model(normalization="batch_norm", head_units=(12,), num_tiles=3, with_norm=True):
    backbone = AlexNet(stem="small", normalization=normalization, width_multiplier=0.1, fc_units=())
    sizes = dict(
        tile_size=8, num_tiles=num_tiles, tile_units=10, head_units=head_units, num_classes=5
    )
    return siamese.SiameseModel(backbone, **sizes, with_norm=with_norm)


def some_tiles(batch, count, seed=1):
    return tf.random.stateless_normal([batch, count, 8, 8, 3], [seed, 2]) * 50


def test_shown_features_against_loops():
    features = np.random.default_rng(0).normal(size=[2, 4, 3]).astype(np.float32)
    order = np.array([[[0, 3], [2, 2]], [[1, 0], [3, 1]]], np.int32)
    shown = siamese.shown_features(tf.constant(features), tf.constant(order)).numpy()
    expected = [
        np.concatenate([features[image, tile] for tile in row])
        for image in range(2)
        for row in order[image]
    ]
    np.testing.assert_array_equal(shown, expected)


def test_each_tile_goes_through_the_same_column():
    model, tiles = make_model(), some_tiles(2, 4)
    features = model.tile_features(tiles, False).numpy()
    assert features.shape == (2, 4, 10)
    np.testing.assert_allclose(
        features[1, 2], model.column(tiles[1, 2][None])[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("conv1_stride", "tile_size"), [(4, 32), (8, 64)])
def test_tiles_of_which_no_map_is_left_are_refused(conv1_stride, tile_size):
    backbone = AlexNet(conv1_stride=conv1_stride, width_multiplier=0.1, fc_units=())
    sizes = dict(num_tiles=9, tile_units=10, head_units=[12], num_classes=5, with_norm=False)
    with pytest.raises(
        InputError,
        match=f"nothing is left of {tile_size}-pixel tiles; use a smaller --conv1_stride",
    ):
        siamese.SiameseModel(backbone, tile_size=tile_size, **sizes)
    assert siamese.SiameseModel(backbone, tile_size=2 * tile_size, **sizes)


def test_loss_is_the_mean_over_an_images_orders():
    model, tiles = make_model(), some_tiles(2, 4)
    order = tf.constant([[[0, 1, 2], [3, 2, 1]], [[1, 1, 0], [2, 0, 3]]])
    labels, seed = tf.constant([[0, 4], [2, 2]]), tf.constant([[0, 1], [0, 2]], tf.int64)
    losses, metrics = siamese.classification_loss(model, tiles, order, labels, seed, training=False)
    given = siamese.answers(model, tiles, order).numpy()
    for image in range(2):
        logits = [model(tf.gather(tiles[image], row)[None])[0] for row in order[image]]
        each = keras.losses.sparse_categorical_crossentropy(
            labels[image], tf.stack(logits), from_logits=True
        )
        np.testing.assert_allclose(losses[image], np.mean(each), rtol=1e-4)
        np.testing.assert_array_equal(given[image], np.argmax(logits, -1))
        np.testing.assert_allclose(
            metrics["accuracy"][image], np.mean(given[image] == labels[image].numpy())
        )


@pytest.mark.parametrize("with_norm", [False, True])
def test_layers_of_the_two_kinds_of_head(with_norm):
    model = make_model(head_units=(12, 6), with_norm=with_norm)
    names = {layer.name for part in (model.column, model.head) for layer in part.layers}
    assert {"fc6", "fc7", "fc8", "logits"} <= names and "fc8_norm" not in names
    assert ({"fc6_norm", "fc7_norm"} <= names) == with_norm
    assert ({"fc6_dropout", "fc7_dropout", "fc8_dropout"} <= names) != with_norm
    fc6 = model.column.get_layer("fc6")
    if with_norm:
        assert not fc6.use_bias
    else:
        assert (fc6.bias.numpy() == 1).all() and 0.004 < fc6.kernel.numpy().std() < 0.006


@pytest.mark.parametrize("normalization", ["none", "lrn", "batch_norm"])
def test_the_head_follows_the_backbone(normalization):
    backbone = AlexNet(stem="small", normalization=normalization, width_multiplier=0.1, fc_units=())
    assert siamese.is_normalized(backbone) == (normalization == "batch_norm")

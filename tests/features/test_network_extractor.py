import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data import image_batches
from ccssl_tf.features.endpoint import EndpointSettings
from ccssl_tf.features.network_extractor import NetworkExtractor, pooled_rows


class MeanColors(NetworkExtractor):
    """The mean of each colour."""

    def describe(self):
        return dict(extractor=dict(name="mean_colors"))

    def rows(self, images):
        return tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])


@pytest.mark.parametrize("batch_size", [5, 16, 100])
def test_no_batch_is_of_two_shards_and_rows_are_those_of_the_images(image_dir, batch_size):
    extractor = MeanColors(EndpointSettings(image_size=32, batch_size=batch_size))
    assert extractor.dim == 3
    index, rows = zip(*extractor.batches(image_dir, "train", [2, 0]), strict=True)
    assert [len(part) for part in index] == {5: [5, 5, 5, 1] * 2}.get(batch_size, [16, 16])
    index, rows = np.concatenate(index), np.concatenate(rows)
    assert set(index[:16]).isdisjoint(index[16:]) and rows.dtype == np.float32
    for batch in image_batches.evaluation_images(
        image_dir, "train", image_size=32, batch_size=16
    ).as_numpy_iterator():
        for image, number in zip(batch["image"], batch["index"], strict=True):
            for row in rows[index == number]:
                np.testing.assert_allclose(row, image.mean((0, 1)), rtol=1e-5)


def test_an_extractor_must_say_what_its_rows_are():
    with pytest.raises(TypeError, match="abstract"):
        NetworkExtractor(EndpointSettings())


def test_maps_are_pooled_and_vectors_stay():
    maps = tf.random.stateless_uniform([2, 6, 6, 3], [0, 1], dtype=tf.float16)
    rows = pooled_rows(maps, 2, "max")
    assert rows.shape == (2, 12) and rows.dtype == tf.float32
    np.testing.assert_array_equal(rows[:, :3], tf.reduce_max(maps[:, :3, :3], [1, 2]))
    np.testing.assert_array_equal(pooled_rows(maps[:, 0, 0], 2, "max"), maps[:, 0, 0])

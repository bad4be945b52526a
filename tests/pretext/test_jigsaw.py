import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.pretext.jigsaw import Jigsaw
from ccssl_tf.pretext.jigsaw_pp import JigsawPP
from ccssl_tf.pretext.permutations import permutation_set


def make_task(image_dir, kind=Jigsaw, **changes):
    settings = dict(
        permutations_per_image=3,
        gray_probability=0.3,
        tile_units=16,
        head_units=32,
        eval_batch_size=8,
    )
    return kind(
        **dict(settings, data_dir=image_dir, image_size=64, permutations=permutation_set(20))
        | changes
    )


@pytest.mark.parametrize("image_size", [64, 255])
def test_tiles_are_jigsaw_pps_without_the_foreign_ones(image_dir, image_size):
    settings = dict(image_size=image_size, gray_probability=0.7)
    plain, plus = make_task(image_dir, **settings), make_task(image_dir, JigsawPP, **settings)
    batch = next(iter(plain.dataset("train", 16, True, (0, 0))))
    (tiles, occluded), (others, foreign) = plain.puzzles(batch), plus.puzzles(batch)
    size = plain.geometry.tile
    assert tiles.shape == (16, 9, size, size, 3)
    assert not occluded.numpy().any() and foreign.numpy().any()
    np.testing.assert_array_equal(tiles.numpy()[~foreign.numpy()], others.numpy()[~foreign.numpy()])
    assert (tiles.numpy() != others.numpy()).any((2, 3, 4))[foreign.numpy()].all()
    np.testing.assert_allclose(tf.reduce_mean(tiles, [2, 3, 4]), 0, atol=1e-2)
    np.testing.assert_allclose(tf.math.reduce_std(tiles, [2, 3, 4]), 50, rtol=1e-3)


def test_batches_need_no_partners(image_dir):
    assert (Jigsaw.batch_multiple, JigsawPP.batch_multiple) == (1, 8)
    task = make_task(image_dir)
    model = task.build_model(
        AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    )
    losses, metrics = task.loss(
        model, next(iter(task.dataset("train", 3, True, (0, 0)))), training=True
    )
    assert losses.shape == metrics["accuracy"].shape == (3,)


@pytest.mark.parametrize("kind, published", [(Jigsaw, 0.3), (JigsawPP, 0.7)])
def test_gray_is_as_published_unless_the_flag_says_otherwise(image_dir, kind, published):
    settings = dict(data_dir=str(image_dir), image_size=64, num_permutations=20)
    with flagsaver.flagsaver(**settings):
        assert kind.from_flags().gray_probability == published
        assert flags.FLAGS.gray_probability == published
    with flagsaver.flagsaver(**settings, gray_probability=0.0):
        assert kind.from_flags().gray_probability == 0


def test_facts_and_pictures(image_dir):
    task = make_task(image_dir)
    facts = task.facts()
    assert facts["chance"] == 1 / 20 and facts["min_hamming_distance"] >= 3
    assert (
        "occluding" not in facts["definition"]
        and "grey with probability 0.3" in facts["definition"]
    )
    model = task.build_model(
        AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    )
    picture = task.pictures(model)["puzzle"]
    assert picture.dtype == np.uint8 and picture.shape[1] % 8 == 0
    assert not (picture == (220, 40, 40)).all(-1).any(), "a frame of a foreign tile"

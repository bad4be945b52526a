import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.pretext.jigsaw import Jigsaw
from ccssl_tf.pretext.jigsaw_pp import JigsawPP
from ccssl_tf.runs.values import read


def make_task(image_dir, kind=Jigsaw, **changes):
    settings = dict(
        num_permutations=20,
        permutations_per_image=3,
        tile_fc6_units=16,
        puzzle_fc7_units=32,
        eval_batch_size=8,
    )
    return kind(**dict(settings, data_dir=str(image_dir), image_size=64) | changes)


@pytest.mark.parametrize("image_size", [64, 255])
def test_tiles_are_jigsaw_pps_without_the_foreign_ones(image_dir, image_size):
    settings = dict(image_size=image_size, gray_probability=0.7)
    plain, plus = make_task(image_dir, **settings), make_task(image_dir, JigsawPP, **settings)
    batch = next(iter(plain.dataset("train", Epoch(16))))
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
    losses, metrics = task.loss(model, next(iter(task.dataset("train", Epoch(3)))), training=True)
    assert losses.shape == metrics["accuracy"].shape == (3,)


@pytest.mark.parametrize("kind, published", [(Jigsaw, 0.3), (JigsawPP, 0.7)])
def test_gray_is_as_published_unless_said_otherwise(kind, published):
    for arguments, probability in (([], published), (["--gray_probability=0"], 0)):
        values = read([kind.Settings], ["--data_dir=images", *arguments])
        assert values[kind.Settings].gray_probability == probability


def test_facts_and_pictures(image_dir):
    task = make_task(image_dir)
    facts = task.facts(model=None)
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

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.layers.per_example_dropout import per_example_seeds
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.pretext.jigsaw_pp import JigsawPP
from ccssl_tf.training import OptimizerSettings, train

AUTHORS_FILE = pathlib.Path(__file__).parents[2] / "../shared/data/jigsaw/permutations_701.bin"


def make_task(image_dir, **changes):
    settings = dict(
        num_permutations=20,
        permutations_per_image=3,
        tile_fc6_units=16,
        puzzle_fc7_units=32,
        eval_batch_size=8,
    )
    return JigsawPP(**dict(settings, data_dir=str(image_dir), image_size=32) | changes)


def small_alexnet():
    return AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())


@pytest.mark.parametrize(
    "backbone, image_size",
    [
        (small_alexnet, 64),
        (lambda: VGG16(normalization="batch_norm", width_multiplier=0.1, fc_units=()), 64),
        (lambda: AlexNet(conv1_stride=2, width_multiplier=0.1, fc_units=()), 255),
    ],
)
def test_a_step_on_each_backbone_and_size(image_dir, backbone, image_size):
    task = make_task(image_dir, image_size=image_size)
    model = task.build_model(backbone())
    batch = next(iter(task.dataset("train", Epoch(8))))
    with tf.GradientTape() as tape:
        losses, metrics = task.loss(model, batch, training=True)
        total = tf.reduce_sum(losses)
    gradients = tape.gradient(total, [variable.value for variable in model.trainable_variables])
    assert losses.shape == metrics["accuracy"].shape == (8,)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    np.testing.assert_allclose(tf.reduce_mean(losses), np.log(20), atol=0.8)


def test_loss_against_loops(image_dir):
    """For each permutation, tiles go through the model in its order; its number is the class."""
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    batch = next(iter(task.dataset("val", Epoch(8, training=False))))
    losses, metrics = task.loss(model, batch, training=False)
    tiles, _ = task.puzzles(batch)
    numbers = task.permutation_indices(batch["seed"]).numpy()
    assert numbers.shape == (8, 3)
    for image in range(8):
        expected, right = [], []
        for number in numbers[image]:
            shown = np.stack([tiles[image, task.permutations[number][slot]] for slot in range(9)])
            logits = model(shown[None], training=False).numpy()[0].astype(np.float64)
            expected.append(np.log(np.exp(logits).sum()) - logits[number])
            right.append(logits.argmax() == number)
        np.testing.assert_allclose(losses[image], np.mean(expected), rtol=1e-3)
        np.testing.assert_allclose(metrics["accuracy"][image], np.mean(right))


@pytest.mark.skipif(
    not AUTHORS_FILE.is_file(), reason="the authors' permutation file is not at hand"
)
def test_the_authors_permutations_train(image_dir, tmp_path):
    path = str(AUTHORS_FILE)
    task = make_task(image_dir, num_permutations=701, permutations_file=path)
    assert task.inputs() == dict(permutations_file=path)
    options = dict(workdir=tmp_path, train_steps=2, batch_size=16, log_steps=1)
    rules = OptimizerSettings(optimizer="sgd", learning_rate=1e-2)
    model, metrics, _ = train(task, small_alexnet, optimizer=rules, **options)
    assert metrics["facts"]["num_permutations"] == 701
    assert metrics["facts"]["min_hamming_distance"] == 3
    assert model.head.output.shape[-1] == 701
    assert abs(metrics["history"]["train"][0]["loss"] - np.log(701)) < 0.5


def test_a_normalised_backbone_has_a_normalised_head_at_any_size(image_dir):
    task = make_task(image_dir, image_size=160)
    normalized = task.build_model(
        VGG16(normalization="batch_norm", width_multiplier=0.1, fc_units=())
    )
    published = task.build_model(AlexNet(conv1_stride=2, width_multiplier=0.1, fc_units=()))
    assert "fc7_norm" in {layer.name for layer in normalized.head.layers}
    assert "fc7_dropout" in {layer.name for layer in published.head.layers}


def test_permutations_are_drawn_uniformly_and_anew_each_epoch(image_dir):
    task = make_task(image_dir)
    seeds = tf.stack([tf.zeros([4000], tf.int64), tf.range(4000, dtype=tf.int64)], 1)
    counts = np.bincount(task.permutation_indices(seeds).numpy().ravel(), minlength=20)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 20, atol=0.006)
    again, other = ((seeds + tf.constant([[epoch, 0]], tf.int64)) for epoch in (0, 1))
    np.testing.assert_array_equal(task.permutation_indices(seeds), task.permutation_indices(again))
    assert (
        task.permutation_indices(seeds).numpy() != task.permutation_indices(other).numpy()
    ).mean() > 0.9


def test_dropout_of_the_paper_size_head_follows_the_seeds(image_dir):
    task = make_task(image_dir)
    model = task.build_model(
        AlexNet(stem="small", normalization="none", width_multiplier=0.1, fc_units=())
    )
    tiles = tf.random.stateless_normal([4, 9, 8, 8, 3], [1, 2]) * 50
    seeds = tf.constant([[0, 5], [0, 6], [0, 7], [0, 8]], tf.int64)

    def features(rows):
        with per_example_seeds(tf.gather(seeds, rows)):
            return model.tile_features(tf.gather(tiles, rows), True).numpy()

    np.testing.assert_allclose(features([0, 1, 2, 3])[2], features([2])[0], rtol=1e-4, atol=1e-5)
    assert (features([0, 1])[0] != features([1, 0])[0]).any()


def test_held_out_puzzles_and_pictures(image_dir):
    task = make_task(image_dir)
    model = task.build_model(small_alexnet())
    first, second = task.evaluate(model), task.evaluate(model)
    assert first == second and set(first.metrics) == {"loss", "accuracy"}
    picture = task.pictures(model)["puzzle"]
    assert picture.dtype == np.uint8 and picture.ndim == 3
    assert task.facts(model)["chance"] == 1 / 20


def test_the_papers_network_has_the_released_prototxts_parameters(image_dir):
    """64-pixel tiles end in a 3x3x256 map; conv2, conv4 and conv5 have two groups."""
    task = make_task(
        image_dir,
        image_size=255,
        tile_fc6_units=1024,
        puzzle_fc7_units=4096,
        num_permutations=701,
    )
    model = task.build_model(AlexNet(conv1_stride=2, fc_units=()))
    convolutions = [(11, 3, 96), (5, 48, 256), (3, 256, 384), (3, 192, 384), (3, 192, 256)]
    expected = sum(
        size * size * inputs * outputs + outputs for size, inputs, outputs in convolutions
    )
    dense = [(3 * 3 * 256, 1024), (9 * 1024, 4096), (4096, 701)]
    expected += sum(inputs * outputs + outputs for inputs, outputs in dense)
    assert sum(np.prod(weight.shape) for weight in model.trainable_variables) == expected

"""Losses against loops and torch; scores of images at the size of each."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data.masks import VOID
from ccssl_tf.downstream import segmentation_scores as lib


def _scores_and_mask(seed):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, [3, 6, 5, 4]).astype(np.float32)
    mask = random.integers(0, 4, [3, 6, 5]).astype(np.uint8)
    mask[random.random(mask.shape) < 0.3] = VOID
    mask[2] = VOID
    return logits, mask


def test_losses_against_loops():
    logits, mask = _scores_and_mask(0)
    losses, metrics = lib.pixel_losses(logits, mask)
    for number in range(3):
        terms, right = [], []
        for y, x in zip(*np.nonzero(mask[number] != VOID), strict=True):
            scores = logits[number, y, x].astype(np.float64)
            terms.append(np.log(np.exp(scores).sum()) - scores[mask[number, y, x]])
            right.append(scores.argmax() == mask[number, y, x])
        assert float(losses[number]) == pytest.approx(np.mean(terms) if terms else 0, rel=1e-5)
        assert float(metrics["pixel_accuracy"][number]) == pytest.approx(
            np.mean(right) if right else 0
        )


def test_losses_and_gradients_against_torch():
    torch = pytest.importorskip("torch")
    logits, mask = _scores_and_mask(1)
    with tf.GradientTape() as tape:
        variable = tf.constant(logits)
        tape.watch(variable)
        losses = lib.pixel_losses(variable, mask)[0]
    gradient = tape.gradient(losses, variable).numpy()
    for number in range(2):
        scores = torch.tensor(logits[number].transpose(2, 0, 1)[None], requires_grad=True)
        theirs = torch.nn.functional.cross_entropy(
            scores, torch.tensor(mask[number][None].astype(np.int64)), ignore_index=VOID
        )
        theirs.backward()
        assert float(losses[number]) == pytest.approx(float(theirs), rel=1e-5)
        np.testing.assert_allclose(
            gradient[number], scores.grad[0].numpy().transpose(1, 2, 0), rtol=1e-4, atol=1e-7
        )
    assert np.abs(gradient[2]).max() == 0


def test_the_first_of_equal_scores_is_the_class():
    logits = tf.constant([[[[0.0, 2.0, 2.0], [1.0, 0.0, -1.0]]]])
    classes = lib.class_map(logits)
    assert classes.dtype == tf.uint8 and classes.numpy().tolist() == [[[1, 0]]]


def test_scores_have_the_size_of_the_mask_and_see_no_padding():
    class Mean:
        """Scores of every pixel: the mean of the image, and its number of rows."""

        class backbone:
            normalize = staticmethod(lambda images: tf.cast(images, tf.float32))

        def __call__(self, images, training):
            mean = tf.reduce_mean(images)
            scores = tf.stack([mean, tf.cast(tf.shape(images)[1], tf.float32)])
            return dict(logits=tf.zeros([*images.shape[:3], 2]) + scores)

    image = np.zeros([1, 9, 9, 3], np.uint8)
    image[:, :4, :6] = 50
    batch = dict(
        image=tf.constant(image),
        mask=tf.zeros([1, 10, 12], tf.uint8),
        size=tf.constant([[4, 6]]),
        mask_size=tf.constant([[8, 12]]),
        seed=tf.zeros([1, 2], tf.int64),
    )
    scores, mask = lib.own_size_scores(Mean(), batch, training=False)
    assert scores.shape == (1, 8, 12, 2) and mask.shape == (1, 8, 12)
    np.testing.assert_allclose(scores, np.broadcast_to([50.0, 4.0], scores.shape))

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.pretext.image_classification import ImageClassification


class OddAndEven(ImageClassification):
    """Classes are the numbers of the images, odd or even."""

    num_classes = 2

    def __init__(self, eval_split, **fields):
        super().__init__(**fields)
        self.eval_split = eval_split

    def target(self, split, parsed):
        return tf.cast(parsed["index"] % 2, tf.int32)

    def class_name(self, number):
        return ["even", "odd"][number]


def make_task(image_dir, image_size=32, eval_split="val"):
    sizes = dict(image_size=image_size, eval_batch_size=5)
    return OddAndEven(eval_split, data_dir=str(image_dir), **sizes)


@pytest.mark.parametrize(
    "backbone, image_size",
    [
        (
            lambda: AlexNet(
                stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=()
            ),
            64,
        ),
        (lambda: VGG16(normalization="batch_norm", width_multiplier=0.1, fc_units=()), 64),
        (lambda: AlexNet(width_multiplier=0.1, fc_units=(16, 16)), 227),
        (lambda: VGG16(width_multiplier=0.1, fc_units=(16, 16), image_size=224), 224),
    ],
)
def test_loss_against_loops_on_each_backbone_and_size(image_dir, backbone, image_size):
    keras.utils.set_random_seed(
        3
    )  # With some weights a loss is so near 0 that float32 has none of its digits.
    task = make_task(image_dir, image_size)
    model = task.build_model(backbone())
    batch = next(iter(task.dataset("train", Epoch(4, seed=3, number=1))))
    losses, metrics = task.loss(model, batch, training=False)
    logits = (
        model(model.backbone.normalize(batch["image"]), training=False)["logits"]
        .numpy()
        .astype(np.float64)
    )
    for row, (own, index) in enumerate(zip(logits, batch["index"].numpy(), strict=True)):
        np.testing.assert_allclose(
            losses[row], np.log(np.exp(own).sum()) - own[index % 2], rtol=1e-3
        )
        assert metrics["accuracy"][row] == (own.argmax() == index % 2)


def test_pictures_and_evaluation_with_and_without_a_held_out_split(image_dir):
    task = make_task(image_dir)
    model = task.build_model(
        AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    )
    assert set(task.evaluate(model).metrics) == {"loss", "accuracy"}
    picture = task.pictures(model)["classification"]
    assert picture.dtype == np.uint8 and picture.ndim == 3
    without = make_task(image_dir, eval_split=None)
    assert without.evaluate(model).metrics == {}
    np.testing.assert_array_equal(picture.shape, without.pictures(model)["classification"].shape)

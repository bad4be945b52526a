"""Classifiers on either kind of backbone, saved and loaded."""

import keras
import numpy as np
import pytest

from ccssl_tf.models import VGG16, AlexNet
from ccssl_tf.models.backbone_file import save_model
from ccssl_tf.models.heads import build_classifier, head_features

BACKBONES = {
    "fc7": lambda: AlexNet(width_multiplier=0.1, fc_units=(16, 12), image_size=67),
    "last map": lambda: AlexNet(
        stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=(), image_size=67
    ),
    "vgg16": lambda: VGG16(width_multiplier=0.1, fc_units=(), normalization="batch_norm"),
}


def features_in_numpy(endpoints):
    if "fc7" in endpoints:
        return np.asarray(endpoints["fc7"])
    maps = np.asarray(list(endpoints.values())[-1])
    stride = maps.shape[1] // 2
    halves = [slice(0, maps.shape[1] - stride), slice(stride, maps.shape[1])]
    return np.stack(
        [maps[:, rows, columns].max((1, 2)) for rows in halves for columns in halves], 1
    ).reshape(len(maps), -1)


@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES)
def test_classifier_and_its_file(tmp_path, build):
    keras.utils.set_random_seed(0)
    backbone = build()
    model = build_classifier(backbone, 7, 67)
    images = np.random.default_rng(0).normal(size=[3, 67, 67, 3]).astype("float32") * 60
    found = model(images)
    assert found.keys() == {"logits"} and found["logits"].shape == (3, 7)
    assert model.backbone is backbone
    features = features_in_numpy(backbone(images))
    np.testing.assert_allclose(head_features(backbone, backbone(images)), features)
    kernel, bias = model.get_layer("logits").get_weights()
    np.testing.assert_allclose(found["logits"], features @ kernel + bias, rtol=1e-4, atol=1e-5)
    assert np.std(kernel) == pytest.approx(0.01, rel=0.2)

    save_model(model, tmp_path / "classifier.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["classifier.keras"]
    loaded = keras.saving.load_model(tmp_path / "classifier.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(loaded(images)["logits"], found["logits"])


def test_every_weight_learns():
    import tensorflow as tf

    model = build_classifier(BACKBONES["last map"](), 3, 67)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(
            model(tf.random.stateless_normal([2, 67, 67, 3], [0, 0]), training=True)["logits"] ** 2
        )
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    assert len(gradients) == 17 and all(np.any(gradient != 0) for gradient in gradients)


def test_logits_stay_in_single_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_classifier(BACKBONES["last map"](), 3, 67)
        assert model(np.zeros([1, 67, 67, 3], "float32"))["logits"].dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")

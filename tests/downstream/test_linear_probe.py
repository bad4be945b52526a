import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf import training
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.downstream import linear_probe as lib
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.training import optimizers

NAMES = ["conv1", "conv2", "conv3", "conv4", "conv5"]


def backbone():
    return AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())


def make_task(image_dir, **changes):
    settings = dict(
        image_size=32,
        endpoints=None,
        grids=[3, 2, 2, 2, 2],
        cache_features=False,
        eval_batch_size=8,
    )
    return lib.LinearProbe(data_dir=image_dir, **settings | changes)


def test_layers_and_grid_sizes_of_the_paper():
    network = AlexNet(fc_units=())
    task_grids = dict(zip(NAMES, [10, 6, 5, 5, 6], strict=True))
    features = lib.pooled_features(network, task_grids, tf.zeros([1, 227, 227, 3], tf.uint8))
    assert features.shape == (1, 9600 + 9216 + 9600 + 9600 + 9216)


def test_last_of_each_stage():
    assert lib.last_of_each_stage(backbone().endpoint_names) == NAMES
    network = VGG16(width_multiplier=0.1, fc_units=())
    assert lib.last_of_each_stage(network.endpoint_names) == [
        "conv1_2",
        "conv2_2",
        "conv3_3",
        "conv4_3",
        "conv5_3",
    ]


def test_pooled_features_against_numpy():
    network = backbone()
    images = np.random.default_rng(0).integers(0, 256, [2, 32, 32, 3], np.uint8)
    features = lib.pooled_features(network, {"conv1": 4, "conv4": 2}, images).numpy()
    maps = network(network.normalize(images), training=False)
    conv1 = maps["conv1"].numpy().reshape(2, 4, 4, 4, 4, -1).max((2, 4)).reshape(2, -1)
    conv4 = maps["conv4"].numpy().reshape(2, 2, 2, 2, 2, -1).max((2, 4)).reshape(2, -1)
    np.testing.assert_allclose(features, np.concatenate([conv1, conv4], 1), rtol=1e-5, atol=1e-4)


def train(task, workdir, steps=4):
    keras.utils.set_random_seed(0)
    optimizer = lambda: optimizers.make_optimizer("adam", 1e-2)  # noqa: E731
    return training.train(
        task, backbone, optimizer, workdir=workdir, train_steps=steps, batch_size=16, log_steps=2
    )


@pytest.mark.parametrize("cache", [False, True])
def test_only_the_classifiers_are_trained(image_dir, tmp_path, cache):
    keras.utils.set_random_seed(0)
    start = {weight.path: weight.numpy() for weight in backbone().weights}
    model, metrics, _ = train(make_task(image_dir, cache_features=cache), tmp_path)
    for weight in model.backbone.weights:
        np.testing.assert_array_equal(weight.numpy(), start[weight.path], err_msg=weight.path)
    assert metrics["num_parameters"] == sum(size * 3 + 3 for size in model.sizes.values())
    assert set(metrics["evaluation"]) == {"loss", *(f"accuracy/{name}" for name in NAMES)}


def test_cached_features_are_those_of_central_crops(image_dir):
    task = make_task(image_dir, cache_features=True)
    model = task.build_model(backbone())
    plain = make_task(image_dir)
    plain.build_model(model.backbone)
    for cached, images in zip(
        task.dataset("val", 8, False, (0, 0)), plain.dataset("val", 8, False, (0, 0)), strict=True
    ):
        features = lib.pooled_features(model.backbone, task.probed, images["image"])
        np.testing.assert_allclose(cached["features"], features, rtol=2e-3, atol=1e-2)
        np.testing.assert_array_equal(cached["label"], images["label"])


def test_cached_order_covers_the_epoch_and_resumes(image_dir):
    task = make_task(image_dir, cache_features=True)
    task.build_model(backbone())
    whole = [batch["index"].numpy() for batch in task.dataset("train", 16, True, (1, 2))]
    assert sorted(np.concatenate(whole)) == list(range(48))
    rest = [
        batch["index"].numpy() for batch in task.dataset("train", 16, True, (1, 2), first_batch=1)
    ]
    np.testing.assert_array_equal(whole[1:], rest)
    other = [batch["index"].numpy() for batch in task.dataset("train", 16, True, (1, 3))]
    assert (np.array(whole) != np.array(other)).any()


def test_each_layer_learns_on_its_own(image_dir):
    """The loss is a sum, so a layer's gradient does not depend on the others."""
    task = make_task(image_dir)
    model = task.build_model(backbone())
    batch = next(iter(task.dataset("train", 16, True, (0, 0))))
    features = lib.pooled_features(model.backbone, task.probed, batch["image"])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(task.loss(model, batch, training=True)[0])
    kernel = model.classifiers["conv3"].layers[-1].kernel
    together = tape.gradient(total, kernel.value)
    with tf.GradientTape() as tape:
        logits = model.classify(features, training=True)["conv3"]
        alone = tf.reduce_sum(
            tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], logits)
        )
    np.testing.assert_allclose(together, tape.gradient(alone, kernel.value), rtol=1e-4, atol=1e-5)


def test_refusals(image_dir, tmp_path):
    with pytest.raises(InputError, match="no endpoint conv9"):
        make_task(image_dir, endpoints=["conv9"], grids=[2]).build_model(backbone())
    task = make_task(image_dir, grids=[2])
    task.build_model(backbone())
    assert task.probed == dict.fromkeys(NAMES, 2)
    with pytest.raises(FlagError, match="--probe_grids has 2 numbers for 5 layers"):
        make_task(image_dir, grids=[2, 2]).build_model(backbone())
    with pytest.raises(FlagError, match="--probe_endpoints=conv4,conv4: names a layer twice"):
        make_task(image_dir, endpoints=["conv4", "conv4"], grids=[3, 2]).build_model(backbone())
    task = make_task(image_dir, cache_features=True, cache_memory_gb=1e-6)
    task.build_model(backbone())
    with pytest.raises(InputError, match="--nocache_features"):
        task.dataset("train", 16, True, (0, 0))
    ours = Manifest.read(image_dir, "images")
    for shard in ours.shards("train") + ours.shards("val"):
        (tmp_path / shard.name).symlink_to(image_dir / shard.name)
    Manifest("images", ours.splits, dict(class_names=None)).write(tmp_path)
    with pytest.raises(InputError, match="no class labels"):
        make_task(tmp_path)

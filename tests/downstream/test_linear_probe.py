import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf import training
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.downstream import linear_probe as lib
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.training import OptimizerSettings

NAMES = ["conv1", "conv2", "conv3", "conv4", "conv5"]


def backbone():
    return AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())


def make_task(image_dir, **changes):
    settings = dict(image_size=32, probe_grids=(3, 2, 2, 2, 2), eval_batch_size=8)
    return lib.LinearProbe(data_dir=str(image_dir), **settings | changes)


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
    optimizer = OptimizerSettings(optimizer="adam", learning_rate=1e-2, weight_decay=0.0)
    options = dict(train_steps=steps, batch_size=16, log_steps=2)
    return training.train(task, backbone, optimizer=optimizer, workdir=workdir, **options)


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
    task, epoch = make_task(image_dir, cache_features=True), Epoch(8, training=False)
    model = task.build_model(backbone())
    # Without a model the batches are of images, the same ones.
    batches = task.dataset("val", epoch, model), task.dataset("val", epoch)
    for cached, images in zip(*batches, strict=True):
        features = model.features(images["image"])
        np.testing.assert_allclose(cached["features"], features, rtol=2e-3, atol=1e-2)
        np.testing.assert_array_equal(cached["label"], images["label"])
        losses = [task.loss(model, batch, training=False)[0] for batch in (cached, images)]
        np.testing.assert_allclose(*losses, rtol=1e-2)


def test_cached_order_covers_the_epoch_and_resumes(image_dir):
    task = make_task(image_dir, cache_features=True)
    model = task.build_model(backbone())

    def indices(**of_epoch):
        batches = task.dataset("train", Epoch(16, **of_epoch), model)
        return [batch["index"].numpy() for batch in batches]

    whole = indices(seed=1, number=2)
    assert sorted(np.concatenate(whole)) == list(range(48))
    np.testing.assert_array_equal(whole[1:], indices(seed=1, number=2, first_batch=1))
    assert (np.array(whole) != np.array(indices(seed=1, number=3))).any()


def test_each_model_has_its_features(image_dir):
    """The cache is the model's: a task that has built another one since does not mix them up."""
    task, epoch = make_task(image_dir, cache_features=True), Epoch(8, training=False)
    first, second = task.build_model(backbone()), task.build_model(backbone())
    batches = [next(iter(task.dataset("val", epoch, model))) for model in (first, second)]
    assert not np.allclose(batches[0]["features"], batches[1]["features"])
    images = next(iter(task.dataset("val", epoch)))["image"]
    np.testing.assert_allclose(batches[0]["features"], first.features(images), rtol=2e-3, atol=1e-2)


def test_each_layer_learns_on_its_own(image_dir):
    """The loss is a sum, so a layer's gradient does not depend on the others."""
    task = make_task(image_dir)
    model = task.build_model(backbone())
    batch = next(iter(task.dataset("train", Epoch(16))))
    features = model.features(batch["image"])
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


def test_what_was_left_open_is_resolved(image_dir):
    (settings,) = make_task(image_dir, probe_grids=(2,)).resolved(backbone())
    assert settings.probe_endpoints == tuple(NAMES) and settings.probe_grids == (2,) * 5
    task = make_task(image_dir, probe_endpoints=("conv2", "conv4"), probe_grids=(3, 2))
    assert task.resolved(backbone()) == (task.settings,)
    assert task.facts(task.build_model(backbone()))["grids"] == dict(conv2=3, conv4=2)


def test_refusals(image_dir, tmp_path):
    with pytest.raises(InputError, match="no endpoint conv9"):
        make_task(image_dir, probe_endpoints=("conv9",), probe_grids=(2,)).build_model(backbone())
    with pytest.raises(FlagError, match="^--probe_grids has 2 numbers for 5 layers"):
        make_task(image_dir, probe_grids=(2, 2)).build_model(backbone())
    task = make_task(image_dir, cache_features=True, cache_memory_gb=1e-6)
    model = task.build_model(backbone())
    with pytest.raises(InputError, match="--nocache_features"):
        task.dataset("train", Epoch(16), model)
    ours = Manifest.read(image_dir, "images")
    for shard in ours.shards("train") + ours.shards("val"):
        (tmp_path / shard.name).symlink_to(image_dir / shard.name)
    Manifest("images", ours.splits, dict(class_names=None)).write(tmp_path)
    with pytest.raises(InputError, match="no class labels"):
        make_task(tmp_path)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(probe_endpoints=("conv4", "conv4")), "--probe_endpoints=conv4,conv4: names a layer"),
        (dict(probe_endpoints=("conv4",)), "--probe_grids has 5 numbers for 1 layers"),
        (dict(probe_grids=(3, 0)), "--probe_grids=3,0: must be 1 or more"),
        (dict(probe_grids=()), "--probe_grids=: give one number"),
        (dict(cache_memory_gb=-1.0), "--cache_memory_gb=-1.0: must be 0 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, message):
    with pytest.raises(FlagError, match=f"^{message}"):
        lib.LinearProbeSettings(data_dir="images", **fields)

"""What is frozen stays bit for bit, what is not starts anew; ten crops against a NumPy loop."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf import training
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.downstream import nonlinear_probe as lib
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.training import OptimizerSettings


def backbone():
    return AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())


def make_task(image_dir, **changes):
    settings = dict(image_size=32, frozen_until="conv2", num_crops=10, eval_batch_size=8)
    return lib.NonlinearProbe(data_dir=str(image_dir), **settings | changes)


def weights_of(network):
    return {weight.path.split("/", 1)[1]: weight.numpy() for weight in network.weights}


def test_frozen_layers_stay_and_the_others_start_anew_and_learn(image_dir, tmp_path):
    keras.utils.set_random_seed(0)
    start = backbone()
    for layer in start.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(layer.moving_mean + 3.0)
    task, before = make_task(image_dir), weights_of(start)
    fresh = weights_of(task.build_model(start).backbone)
    optimizer = OptimizerSettings(
        learning_rate=1e-2, weight_decay=0.1, bias_learning_rate_multiplier=1.0
    )
    options = dict(workdir=tmp_path, train_steps=3, batch_size=16)
    model, metrics, _ = training.train(task, lambda: start, optimizer=optimizer, **options)
    after = weights_of(model.backbone)
    assert before.keys() == after.keys()
    for name, value in before.items():
        frozen = name.startswith(("conv1", "conv2"))
        if frozen:
            np.testing.assert_array_equal(after[name], value, err_msg=name)
        else:
            assert (after[name] != value).any(), name
            if "kernel" in name:
                assert not np.allclose(fresh[name], value), name
    trained = [weight.path for weight in model.trainable_variables]
    assert (
        not any("conv1" in path or "conv2" in path for path in trained)
        and len(trained) == 3 * 3 + 2
    )
    assert set(metrics["evaluation"]) == {"loss", "accuracy/conv2"}
    assert metrics["facts"]["frozen_layers"] == ["conv1", "conv1_norm", "conv2", "conv2_norm"]
    assert metrics["facts"]["definition"].endswith(
        "their batch normalisation with mean 0 and variance 1"
    )
    assert set(tf.io.decode_png((tmp_path / "pictures/confusion.png").read_bytes()).shape) > {3}


def test_ten_crops_are_averaged_as_probabilities(image_dir):
    task = make_task(image_dir)
    model = task.build_model(backbone())
    batch = next(iter(task.dataset("val", Epoch(8, training=False))))
    assert batch["image"].shape == (8, 10, 32, 32, 3)
    losses, metrics = task.loss(model, batch, training=False)
    for number in range(8):
        total = np.zeros(3)
        for crop in batch["image"][number]:
            logits = (
                model(model.backbone.normalize(crop[None]), training=False)["logits"]
                .numpy()[0]
                .astype(np.float64)
            )
            total += np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum() / 10
        label = int(batch["label"][number])
        np.testing.assert_allclose(losses[number], -np.log(total[label]), rtol=1e-4, atol=1e-6)
        assert metrics["accuracy/conv2"][number] == (np.argmax(total) == label)
    assert next(iter(make_task(image_dir, num_crops=1).dataset("val", Epoch(8, training=False))))[
        "image"
    ].shape == (8, 1, 32, 32, 3)


def test_fully_connected_layers_are_kept_only_where_they_are_frozen(image_dir):
    start = AlexNet(stem="small", width_multiplier=0.05, fc_units=(6, 5), image_size=32)
    for until, kept in (("conv5", []), ("fc6", ["fc6"]), ("fc7", ["fc6", "fc7"])):
        task = make_task(image_dir, frozen_until=until)
        assert task.keep_fc == bool(kept)
        network = task.build_model(start).backbone
        for name in ("conv1", "conv5", "fc6", "fc7"):
            same = np.array_equal(network.get_layer(name).kernel, start.get_layer(name).kernel)
            assert same == (name.startswith("conv") or name in kept), (until, name)


def test_names_of_stages():
    network = VGG16(width_multiplier=0.1, fc_units=())
    assert lib.endpoint_called(network, "conv3") == "conv3_3"
    assert lib.endpoint_called(network, "conv3_1") == "conv3_1"
    with pytest.raises(
        InputError,
        match="--frozen_until=fc6: vgg16 has conv1_1, .*small images have no fully connected "
        "layers",
    ):
        lib.endpoint_called(network, "fc6")
    with pytest.raises(InputError, match="--frozen_until=conv: "):
        lib.endpoint_called(network, "conv")


def test_the_input_network_is_left_as_it_is():
    start = backbone()
    network = lib.retrained_behind(start, "conv5")
    assert all(layer.trainable for layer in start.layers)
    # Batch normalisation that does not train keeps its statistics.
    norm = network.get_layer("conv1_norm")
    mean = norm.moving_mean.numpy()
    network(np.full([2, 32, 32, 3], 50, np.float32), training=True)
    np.testing.assert_array_equal(norm.moving_mean, mean)


def test_crops_that_cannot_be_are_refused():
    with pytest.raises(FlagError, match="^--num_crops=3: must be 1 or 10"):
        lib.NonlinearProbeSettings(data_dir="images", num_crops=3)

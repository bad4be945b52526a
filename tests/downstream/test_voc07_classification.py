"""The loss, the crops' sums and the numbers against loops and scikit-learn; what is trained under
each setting.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score

from ccssl_tf import training
from ccssl_tf.downstream import voc07_classification as lib
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.training import optimizers


def make_task(voc_dir, **changes):
    settings = dict(
        image_size=32,
        freeze="all",
        train_split="trainval",
        eval_split="test",
        random_crops=3,
        crop_scales=(0.5, 2.0),
    )
    return lib.Voc07Classification(data_dir=voc_dir, **settings | dict(eval_batch_size=4) | changes)


def small(fc_units=()):
    return AlexNet(
        stem="small", normalization="lrn", width_multiplier=0.05, fc_units=fc_units, image_size=32
    )


def test_the_loss_in_a_loop():
    random = np.random.default_rng(0)
    logits, presence = random.normal(size=[6, 4]).astype(np.float32), random.integers(-1, 2, [6, 4])
    expected = np.zeros(6)
    for row in range(6):
        for number in range(4):
            probability = 1 / (1 + np.exp(-float(logits[row, number])))
            if presence[row, number] != 0:
                expected[row] -= np.log(
                    probability if presence[row, number] > 0 else 1 - probability
                )
    np.testing.assert_allclose(
        lib.presence_loss(logits, tf.constant(presence)), expected, rtol=1e-5
    )


def test_the_numbers_are_those_of_the_crops_scores(voc_dir):
    keras.utils.set_random_seed(1)
    task = make_task(voc_dir)
    model = task.build_model(small())
    result = task.evaluate(model)
    scores, single, presence = np.zeros([10, 4]), np.zeros([10, 4]), np.zeros([10, 4], int)
    for batch in task.dataset("test", 1, False, (0, 0)):
        index = int(batch["index"][0])
        presence[index] = batch["presence"][0]
        for number, crop in enumerate(batch["image"][0]):
            logits = model(model.backbone.normalize(crop[None]), training=False)["logits"].numpy()[
                0
            ]
            scores[index] += logits
            single[index] += logits * (number == 0)
    shown = [number for number in range(4) if (presence[:, number] > 0).any()]
    assert len(shown) == 3  # Nothing shows the last class.
    for values, suffix in ((scores, ""), (single, "_one_crop")):
        expected = []
        for number in shown:
            kept = presence[:, number] != 0
            positive = presence[kept, number] > 0
            expected.append(
                average_precision_score(positive, values[kept, number] - 1e-5 * positive)
            )
        np.testing.assert_allclose(
            result[f"mean_average_precision_step{suffix}"], np.mean(expected), rtol=1e-5
        )
    of_classes = [result[f"average_precision/{task.class_names[number]}"] for number in shown]
    np.testing.assert_allclose(result["mean_average_precision"], np.mean(of_classes))
    assert {"mean_average_precision_11point", "mean_average_precision_11point_one_crop"} < set(
        result
    )
    facts = task.facts()
    shares = [(presence[:, n] > 0).sum() / (presence[:, n] != 0).sum() for n in shown]
    np.testing.assert_allclose(facts["chance"], np.mean(shares))
    assert facts["classes_not_shown"] == ["d"] and "trapezoid" in facts["definition"]
    assert task.pictures(model)["ranking"].dtype == np.uint8


def test_equal_scores_do_not_favour_the_method(voc_dir):
    task = make_task(voc_dir)
    model = task.build_model(small())
    model.get_layer("logits").kernel.assign(np.zeros(model.get_layer("logits").kernel.shape))
    result = task.evaluate(model)
    # Every positive comes after every negative.
    for number in range(3):
        states = np.array(
            [batch["presence"][0, number] for batch in task.dataset("test", 1, False, (0, 0))]
        )
        positives, negatives = (states > 0).sum(), (states < 0).sum()
        ranks = np.arange(1, positives + 1)
        precision = (
            np.append(0, ranks / (negatives + ranks)) if negatives else np.ones(positives + 1)
        )
        lower_half = (precision[1:] + precision[:-1]) / 2
        assert (
            result[f"average_precision/{task.class_names[number]}"]
            <= np.mean(lower_half) + 1 / positives
        )


@pytest.mark.parametrize("freeze, trained", [("all", "conv1"), ("fc678", "fc6"), ("fc8", "logits")])
def test_what_is_trained(voc_dir, tmp_path, freeze, trained):
    task = make_task(voc_dir, freeze=freeze)
    start = small((6, 5))
    conv1 = start.get_layer("conv1").kernel.numpy()
    options = dict(
        train_steps=2, batch_size=4, decay_biases=True, clip_norm=10.0, weight_decay=1e-2
    )
    model, metrics, _ = training.train(
        task,
        lambda: start,
        lambda: optimizers.make_optimizer("sgd", 1e-2),
        workdir=tmp_path,
        **options,
    )
    order = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "logits"]
    assert {
        path.split("/")[-2] for path in (weight.path for weight in model.trainable_variables)
    } == set(order[order.index(trained) :])
    assert np.array_equal(model.backbone.get_layer("conv1").kernel, conv1) == (freeze != "all")
    assert metrics["evaluation"]["mean_average_precision"] > 0


def test_fully_connected_layers_start_as_in_the_protocol(voc_dir):
    start = small((60, 50))
    before = start.get_layer("fc6").kernel.numpy()
    model = make_task(voc_dir).build_model(start)
    for layer in (*(start.get_layer(name) for name in ("fc6", "fc7")), model.get_layer("logits")):
        np.testing.assert_array_equal(layer.bias, np.full(layer.bias.shape, 0.1, np.float32))
        assert abs(float(np.std(layer.kernel)) - 0.01) < 0.002
    assert not np.array_equal(start.get_layer("fc6").kernel, before)
    for changes, weights_from in ((dict(keep_fc=True), None), ({}, dict(rescaled=dict(conv1=1.0)))):
        start = small((60, 50))
        start.weights_from = weights_from
        before = start.get_layer("fc6").kernel.numpy()
        make_task(voc_dir, **changes).build_model(start)
        np.testing.assert_array_equal(start.get_layer("fc6").kernel, before)


def test_refusals(voc_dir, image_dir):
    with pytest.raises(InputError, match="no split trainval, but train, val"):
        make_task(image_dir)
    with pytest.raises(InputError, match="split train does not say which classes"):
        make_task(image_dir, train_split="train", eval_split="val")
    with pytest.raises(FlagError, match="--crop_scales=2,1"):
        make_task(voc_dir, crop_scales=(2.0, 1.0))


def test_another_number_of_classes_is_refused(voc_dir, tmp_path):
    from ccssl_tf.data.manifest import Manifest

    manifest = Manifest.read(voc_dir, "images")
    for shard in manifest.shards("trainval") + manifest.shards("test"):
        (tmp_path / shard.name).symlink_to(voc_dir / shard.name)
    Manifest("images", manifest.splits, dict(class_names=["a", "b"])).write(tmp_path)
    with pytest.raises(InputError, match="tells of 4 classes, the data set names 2"):
        make_task(tmp_path)


@pytest.mark.parametrize(
    "states, said",
    [
        ([1, -1], "tells of 2 classes instead of 4"),
        ([1, 3, -1, 0], r"has class states \[1 3 -1 0\], which must be 1, 0 or -1"),
    ],
)
def test_states_of_classes_that_cannot_be_are_named_while_reading(voc_dir, tmp_path, states, said):
    from ccssl_tf.data import records, voc_records
    from ccssl_tf.data.manifest import Manifest

    first = next(iter(records.read_shard(voc_dir / "test-00000-of-00001.tfrecord")))
    encoded = records.parse_image(first)["encoded"].numpy()
    bad = dict(encoded=encoded, filename=b"odd.jpg", height=60, width=90, index=1)
    examples = [first, records.image_example(**bad, extra=voc_records.presence_features(states))]
    shard = records.write_shard(tmp_path / "test-00000-of-00001.tfrecord", examples)
    Manifest("images", dict(test=[shard]), dict(class_names=list("abcd"))).write(tmp_path)
    task = make_task(tmp_path, train_split="test")
    with (
        pytest.raises(InputError, match=f"split test: image 1 .odd.jpg. {said}"),
        records.naming_damage(tmp_path),
    ):
        list(task.dataset("test", 2, False, (0, 0)))

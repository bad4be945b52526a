"""The crops' sums and the numbers against loops and scikit-learn; what is trained under each
setting.
"""

import keras
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ccssl_tf import training
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.downstream import voc07_classification as lib
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.training import OptimizerSettings


def make_task(voc_dir, **changes):
    settings = dict(image_size=32, random_crops=3, eval_batch_size=4)
    return lib.Voc07Classification(data_dir=str(voc_dir), **settings | changes)


def small(fc_units=()):
    return AlexNet(
        stem="small", normalization="lrn", width_multiplier=0.05, fc_units=fc_units, image_size=32
    )


def test_the_numbers_are_those_of_the_crops_scores(voc_dir):
    keras.utils.set_random_seed(1)
    task = make_task(voc_dir)
    model = task.build_model(small())
    evaluation = task.evaluate(model)
    result = evaluation.metrics
    scores, single, presence = np.zeros([10, 4]), np.zeros([10, 4]), np.zeros([10, 4], int)
    for batch in task.dataset("test", Epoch(1, training=False)):
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
    facts = task.facts(model, evaluation)
    shares = [(presence[:, n] > 0).sum() / (presence[:, n] != 0).sum() for n in shown]
    np.testing.assert_allclose(facts["chance"], np.mean(shares))
    assert facts["classes_not_shown"] == ["d"] and "trapezoid" in facts["definition"]
    assert task.facts(model)["chance"] is None
    # They are of the scores of the evaluation, or of the same ones made again.
    pictures = task.pictures(model, evaluation), task.pictures(model)
    np.testing.assert_array_equal(*(picture["ranking"] for picture in pictures))


def test_equal_scores_do_not_favour_the_method(voc_dir):
    task = make_task(voc_dir)
    model = task.build_model(small())
    model.get_layer("logits").kernel.assign(np.zeros(model.get_layer("logits").kernel.shape))
    result = task.evaluate(model).metrics
    # Every positive comes after every negative.
    for number in range(3):
        states = np.array(
            [
                batch["presence"][0, number]
                for batch in task.dataset("test", Epoch(1, training=False))
            ]
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
    optimizer = OptimizerSettings(decay_biases=True, clip_gradients=10.0, weight_decay=1e-2)
    options = dict(workdir=tmp_path, train_steps=2, batch_size=4)
    model, metrics, _ = training.train(task, lambda: start, optimizer=optimizer, **options)
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


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(crop_scales=(2.0, 1.0)), "--crop_scales=2,1: must be above 0, the smallest first"),
        (dict(crop_scales=(0.5,)), "--crop_scales=0.5: expected two numbers"),
        (dict(freeze="fc7"), "--freeze=fc7: must be one of all, fc678, fc8"),
        (dict(random_crops=0), "--random_crops=0: must be 1 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, message):
    with pytest.raises(FlagError, match=f"^{message}"):
        lib.Voc07ClassificationSettings(data_dir="images", **fields)

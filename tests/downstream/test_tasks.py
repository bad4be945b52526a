"""Every method of every evaluation works on a fresh task and model, in any order."""

import numpy as np
import pytest

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.downstream.fast_rcnn import FastRCNN
from ccssl_tf.downstream.fcn import FCN
from ccssl_tf.downstream.linear_probe import LinearProbe
from ccssl_tf.downstream.nonlinear_probe import NonlinearProbe
from ccssl_tf.downstream.voc07_classification import Voc07Classification
from ccssl_tf.models.alexnet import AlexNet


def backbone():
    return AlexNet(stem="small", normalization="none", width_multiplier=0.05, fc_units=())


@pytest.fixture(scope="module")
def makers(image_dir, voc_dir, mask_dir, objects_dir):
    """Name -> function that makes the task."""
    detection = dict(
        data_dir=str(objects_dir / "images"),
        proposals_dir=str(objects_dir / "proposals"),
        detection_scales=(48,),
        detection_test_scale=48,
        fc_units=(160, 160),
    )
    small = dict(data_dir=str(image_dir), image_size=32, eval_batch_size=8)
    voc = dict(data_dir=str(voc_dir), image_size=32, random_crops=2)
    cached = dict(probe_grids=(2,), cache_features=True)
    return dict(
        linear_probe=lambda: LinearProbe(probe_grids=(2,), **small),
        cached_linear_probe=lambda: LinearProbe(**cached, **small),
        nonlinear_probe=lambda: NonlinearProbe(num_crops=1, **small),
        voc07_classification=lambda: Voc07Classification(**voc),
        fcn=lambda: FCN(data_dir=str(mask_dir), fc_units=(16, 16)),
        fast_rcnn=lambda: FastRCNN(**detection),
    )


NAMES = [
    "linear_probe",
    "cached_linear_probe",
    "nonlinear_probe",
    "voc07_classification",
    "fcn",
    "fast_rcnn",
]


@pytest.mark.parametrize("name", NAMES)
def test_methods_work_in_any_order(makers, name):
    made = makers[name]()
    model = made.build_model(backbone())

    def loss(task):
        batch = next(iter(task.dataset(task.train_split, Epoch(2), model)))
        return task.loss(model, batch, training=False)[0].numpy()

    methods = dict(
        loss=loss,
        pictures=lambda task: task.pictures(model),
        facts=lambda task: task.facts(model),
        evaluate=lambda task: task.evaluate(model).metrics,
        resolved=lambda task: task.resolved(backbone()),
    )
    forward, backward = makers[name](), makers[name]()
    first = {method: call(forward) for method, call in methods.items()}
    last = {method: methods[method](backward) for method in reversed(methods)}
    assert first["pictures"] and first["facts"]["definition"]
    np.testing.assert_equal(first, last)


@pytest.mark.parametrize("name", NAMES)
def test_an_evaluation_of_another_model_leaves_no_trace(makers, name):
    """What is told of a model is not that of the one evaluated before."""
    task = makers[name]()
    first, second = task.build_model(backbone()), task.build_model(backbone())
    before = task.facts(second)
    result = task.evaluate(first)
    assert task.facts(second) == before
    assert task.facts(first, result).keys() >= result.facts.keys()
    assert task.pictures(second).keys() == task.pictures(first, result).keys()

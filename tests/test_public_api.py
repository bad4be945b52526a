"""What `ccssl_tf` lists is there without a flag parsed; every example in its docstrings runs."""

import doctest
import importlib
import json
import sys
import types

import keras
import numpy as np
import pytest

import ccssl_tf
from ccssl_tf.clustering.pseudo_labels import PseudoLabels, write_pseudo_labels
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.models import backbone_file
from ccssl_tf.models.heads import build_classifier

NAMES = [name for name in ccssl_tf.__all__ if name != "__version__"]


@pytest.fixture(scope="module")
def places(image_dir, voc_dir, mask_dir, objects_dir, tmp_path_factory):
    """What the examples call `data_dir`, `pseudo_labels`, `teacher`, `run` and so on."""
    root = tmp_path_factory.mktemp("api")
    for name in ("pseudo_labels", "teacher"):
        (root / name).mkdir()
    fingerprint = Manifest.read(image_dir, "images").fingerprint("train")
    rows = np.arange(48), np.arange(48, dtype=np.int32) % 4, np.zeros(48, np.float32)
    labels = dict(train=PseudoLabels(fingerprint, *rows))
    write_pseudo_labels(root / "pseudo_labels", labels, num_clusters=4)
    network = ccssl_tf.AlexNet(
        stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=()
    )
    classifier = build_classifier(network, 4, 32)
    backbone_file.save_backbone(classifier.backbone, root / "teacher")
    backbone_file.save_model(classifier, root / "teacher" / "classifier.keras")
    (root / "teacher" / "flags.txt").write_text("--image_size=32\n")
    record = json.dumps(dict(command=["ccssl_tf.train"], inputs={}))
    (root / "teacher" / "run.json").write_text(record)
    (root / "teacher" / "DONE").write_text(record)
    return dict(
        data_dir=str(image_dir),
        voc_dir=str(voc_dir),
        mask_dir=str(mask_dir),
        objects_dir=str(objects_dir),
        pseudo_labels=str(root / "pseudo_labels"),
        teacher=str(root / "teacher"),
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_shows_an_example_that_runs(name, places, tmp_path):
    thing = getattr(ccssl_tf, name)
    globs = dict(places, workdir=str(tmp_path))
    keras.utils.set_random_seed(0)
    finder = doctest.DocTestFinder(recurse=False)
    module = sys.modules[thing.__module__]
    (test,) = finder.find(thing, name, module, globs=dict(vars(module), **globs))
    assert test.examples, f"{name} has no example"
    told = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, out=told.append)
    assert not runner.failures, "".join(told)


def test_functions_stay_what_they_are_when_commands_of_their_names_are_imported():
    for name in ("train", "export"):
        command = importlib.import_module(f"ccssl_tf.{name}")
        assert isinstance(command, types.ModuleType) and callable(getattr(ccssl_tf, name))
        assert not isinstance(getattr(ccssl_tf, name), types.ModuleType)


def test_the_list_is_complete_and_others_are_refused():
    assert set(dir(ccssl_tf)) == set(ccssl_tf.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Kmeans'"):
        ccssl_tf.__getattr__("Kmeans")

"""A loaded SavedModel answers many requests at once as Keras answers each."""

import concurrent.futures

import numpy as np
import pytest
import tensorflow as tf
from trained_runs import SIZE, make_run

from ccssl_tf.downstream.exporting import export

_REQUESTS, _THREADS = 1000, 8


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("serving")
    networks = make_run(root / "run", classes=7)
    export(root / "run", root / "out")
    return *networks, root / "out" / "saved_model"


def test_a_thousand_requests_of_eight_threads(served):
    backbone, classifier, saved_model = served
    signatures = tf.saved_model.load(str(saved_model)).signatures
    random = np.random.default_rng(0)
    sizes = random.integers(1, 4, _REQUESTS)
    images = random.integers(0, 256, [sizes.sum(), SIZE, SIZE, 3]).astype(np.float32)
    # By Keras, all at once; a request is some rows of it.
    normalized = backbone.normalize(images)
    endpoints = backbone(normalized, training=False)
    logits = np.asarray(classifier(normalized, training=False)["logits"])
    embeddings = np.asarray(endpoints["conv5"]).mean(axis=(1, 2))
    starts = np.cumsum(sizes) - sizes

    def request(number):
        rows = slice(starts[number], starts[number] + sizes[number])
        given = tf.constant(images[rows])
        if number % 2:
            answer, expected = signatures["serve"](images=given)["logits"], logits[rows]
        else:
            answer, expected = signatures["embedding"](images=given)["embedding"], embeddings[rows]
        assert answer.shape == expected.shape
        return np.abs(answer - expected).max() / np.abs(expected).max()

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        differences = list(threads.map(request, range(_REQUESTS)))
    assert len(differences) == _REQUESTS and max(differences) < 1e-4


def test_servers_find_the_names_that_the_readme_gives(served):
    """TensorFlow Serving reads the signatures' names from the file itself."""
    from tensorflow.core.protobuf import saved_model_pb2

    program = saved_model_pb2.SavedModel.FromString((served[-1] / "saved_model.pb").read_bytes())
    (graph,) = program.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    found = {
        name: (set(signature.inputs), set(signature.outputs))
        for name, signature in graph.signature_def.items()
    }
    assert found["serve_jpeg"] == ({"encoded"}, found["serve"][1])
    assert found["serve"][0] == found["embedding"][0] == {"images"}
    assert found["serving_default"] == found["serve"] and "logits" in found["serve"][1]
    assert found["embedding"][1] == {"embedding"}

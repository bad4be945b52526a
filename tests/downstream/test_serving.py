"""A loaded SavedModel answers many requests at once as Keras answers each."""

import base64
import concurrent.futures
import contextlib
import io
import json
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from trained_runs import SIZE, make_run

from ccssl_tf.downstream.exporting import export

_REQUESTS, _THREADS = 1000, 8
_README = pathlib.Path(__file__).parents[2] / "ccssl_tf/downstream/formats/README.md"


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


def answered(signature, body):
    """What TensorFlow Serving's REST interface makes of a request for a signature of one input.

    Numbers become the input's type, objects of `b64` bytes; outputs are columns or rows as the
    inputs are (tensorflow.org/tfx/serving/api_rest).
    """
    ((name, spec),) = signature.structured_input_signature[1].items()
    is_rows = "instances" in body
    values = body["instances"] if is_rows else body["inputs"][name]
    if spec.dtype == tf.string:
        values = [base64.b64decode(one["b64"]) for one in values]
    given = tf.constant(values, spec.dtype)
    assert spec.shape.is_compatible_with(given.shape)
    outputs = {name: value.numpy() for name, value in signature(**{name: given}).items()}
    if not is_rows:
        return outputs
    count = len(values)
    assert all(len(value) == count for value in outputs.values())
    rows = [{name: value[row] for name, value in outputs.items()} for row in range(count)]
    return [next(iter(row.values())) for row in rows] if len(outputs) == 1 else rows


def test_the_requests_of_the_readme(served):
    backbone, _, saved_model = served
    signatures = tf.saved_model.load(str(saved_model)).signatures
    readme = _README.read_text()
    (code,) = re.findall(r"python -c '(.*)' ", readme)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    pixels = json.loads(printed.getvalue())
    images = np.array(pixels["inputs"]["images"], np.float32)
    assert images.shape == (1, 64, 64, 3) and images[0, 5, :2].tolist() == [
        [255, 0, 0],
        [0, 0, 255],
    ]
    embedding = answered(signatures[pixels["signature_name"]], pixels)["embedding"]
    maps = np.asarray(backbone(backbone.normalize(images), training=False)["conv5"])
    np.testing.assert_allclose(embedding, maps.mean(axis=(1, 2)), rtol=1e-3, atol=1e-5)
    (rows,) = answered(signatures["embedding"], dict(instances=images.tolist()))
    np.testing.assert_allclose(rows, embedding[0], rtol=1e-5)

    (before, after) = re.search(
        r"printf '(.*?)'; base64 -w0 photo.jpg; echo '(.*?)'", readme
    ).groups()
    photo = tf.io.encode_jpeg(images[0].astype(np.uint8)).numpy()
    encoded = base64.b64encode(photo).decode()
    jpeg = json.loads(f"{before}{encoded}{after}")
    answer = answered(signatures[jpeg["signature_name"]], jpeg)
    assert {"logits", "conv1", "conv5"} <= set(answer) and answer["logits"].shape == (1, 7)
    two = answered(signatures["serve_jpeg"], dict(instances=[{"b64": encoded}] * 2))
    np.testing.assert_allclose(two[1]["logits"], answer["logits"][0], rtol=1e-4, atol=1e-5)

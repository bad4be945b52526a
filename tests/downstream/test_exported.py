"""The SavedModel gives the network's outputs, at any batch size, from pixels and from JPEG bytes,
and can be trained on.
"""

import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from trained_runs import SIZE, make_run

from ccssl_tf.downstream import exported as exported_lib
from ccssl_tf.downstream.detector import Detector
from ccssl_tf.downstream.exporting import export, load_run
from ccssl_tf.models import fast_rcnn, fcn
from ccssl_tf.models.backbone import copy_convolutions
from ccssl_tf.models.backbone_file import save_model
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.run_record import read_flags


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    backbone, classifier = make_run(root / "run", classes=7)
    export(root / "run", root / "out")
    return backbone, classifier, root / "out"


def images_of(batch_size, side=SIZE):
    return np.random.default_rng(batch_size).integers(0, 256, [batch_size, side, side, 3], np.uint8)


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_every_endpoint_and_the_logits_are_the_networks(exported, batch_size, dtype):
    backbone, classifier, out = exported
    images = images_of(batch_size)
    normalized = images.astype(np.float32) - np.array([123, 117, 104], np.float32)
    expected = dict(backbone(normalized, training=False), **classifier(normalized, training=False))
    loaded = tf.saved_model.load(str(out / "saved_model"))
    found = loaded.serve(images.astype(dtype))
    assert set(found) == set(expected) == {"conv1", "conv2", "conv3", "conv4", "conv5", "logits"}
    for name in expected:
        scale = float(tf.reduce_max(tf.abs(expected[name])))
        np.testing.assert_allclose(
            found[name], expected[name], rtol=1e-4, atol=1e-5 * scale, err_msg=name
        )


def test_serving_signatures_have_named_inputs_and_outputs(exported):
    loaded = tf.saved_model.load(str(exported[2] / "saved_model"))
    signatures = loaded.signatures
    assert set(signatures) == {*("serve", "serve_jpeg", "backbone", "embedding", "serving_default")}
    images = images_of(2)
    found = signatures["serving_default"](images=tf.constant(images, tf.float32))
    assert found["logits"].shape == [2, 7]
    assert signatures["backbone"](images=tf.zeros([2, 50, 41, 3]))["conv1"].shape[:3] == [2, 25, 21]


def test_jpeg_bytes_of_any_size_give_the_outputs_of_their_central_crop(exported):
    loaded = tf.saved_model.load(str(exported[2] / "saved_model"))
    encoded = []
    for size in ((80, 50), (40, 60)):
        ramp = (
            np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3).astype(np.uint8)
        )
        buffer = io.BytesIO()
        Image.fromarray(ramp).save(buffer, "JPEG", quality=95)
        encoded.append(buffer.getvalue())
    found = loaded.serve_jpeg(tf.constant(encoded))
    from ccssl_tf.data.image_ops import evaluation_crop

    crops = tf.stack([evaluation_crop(one, SIZE) for one in encoded])
    np.testing.assert_allclose(found["logits"], loaded.serve(crops)["logits"], rtol=1e-4, atol=1e-5)


def test_it_can_be_fine_tuned(exported):
    backbone, classifier, out = exported
    loaded = tf.saved_model.load(str(out / "saved_model"))
    # Kernel and bias of five convolutions and the classes; no batch normalisation, whose statistics
    # a trainer would have to keep.
    assert len(loaded.trainable_variables) == 12 < len(classifier.trainable_variables)
    layer = keras.layers.TFSMLayer(str(out / "saved_model"), call_endpoint="serve")
    images = tf.constant(images_of(4), tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(layer(images)["conv5"] ** 2)
    gradients = tape.gradient(loss, layer.trainable_weights)
    touched = [
        gradient is not None and bool(tf.reduce_any(gradient != 0)) for gradient in gradients
    ]
    assert sum(touched) >= 5


def test_batch_normalisation_is_merged_unless_told_not_to(tmp_path, exported):
    _, classifier = make_run(tmp_path / "run", classes=7)
    kept, folded = (
        exported_lib.Exported(tmp_path / "run", fold=False),
        tf.saved_model.load(str(exported[2] / "saved_model")),
    )
    assert len(kept.classifier.trainable_variables) == len(classifier.trainable_variables)
    expected, found = kept.serve(images_of(2)), folded.serve(images_of(2))
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name],
            value,
            rtol=1e-4,
            atol=1e-5 * float(tf.reduce_max(tf.abs(value))),
            err_msg=name,
        )
    assert kept.describe()["batch_normalization_folded"] is False
    assert (
        json.loads((exported[2] / "export.json").read_text())["batch_normalization_folded"] is True
    )


def test_export_json_says_what_goes_in_and_comes_out(exported):
    facts = json.loads((exported[2] / "export.json").read_text())
    assert facts["outputs"]["logits"] == [None, 7]
    assert facts["outputs"]["conv1"] == [None, 16, 16, 8]
    assert facts["input"]["shape"] == [None, SIZE, SIZE, 3]
    assert facts["provenance"]["backbone"]["fingerprint"]
    assert not list(exported[2].glob("*.tmp-*"))


def test_a_backbone_alone_takes_images_of_any_size(tmp_path):
    backbone, _ = make_run(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "out")
    loaded = tf.saved_model.load(str(tmp_path / "out" / "saved_model"))
    assert set(loaded.signatures) == {"serve", "serve_jpeg", "embedding", "serving_default"}
    images = images_of(2, 48)
    expected = backbone(backbone.normalize(images), training=False)
    np.testing.assert_allclose(
        loaded.serve(images)["conv5"],
        expected["conv5"],
        rtol=1e-4,
        atol=1e-5 * np.max(expected["conv5"]),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        dict(),
        dict(stem="standard", normalization="lrn", fc_units=(16, 16), image_size=99),
    ],
    ids=["any size", "with fully connected layers"],
)
def test_the_embedding_is_the_mean_of_the_last_map_of_images_of_any_size(tmp_path, arguments):
    backbone, _ = make_run(tmp_path / "run", classes=3, **arguments)
    export(tmp_path / "run", tmp_path / "out")
    embedding = tf.saved_model.load(str(tmp_path / "out" / "saved_model")).signatures["embedding"]
    for height, width in ((99, 99), (120, 131)):
        images = np.random.default_rng(height).integers(0, 256, [2, height, width, 3], np.uint8)
        # The same convolutions without fully connected layers, which fix the size.
        free = type(backbone).from_config({**backbone.get_config(), "fc_units": []})
        copy_convolutions(backbone, free, "the backbone")
        maps = free(free.normalize(images), training=False)[
            "pool5" if arguments else "conv5"
        ].numpy()
        found = embedding(images=tf.constant(images, tf.float32))["embedding"]
        expected = maps.mean(axis=(1, 2))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="no finished run"):
        exported_lib.Exported(tmp_path)
    make_run(tmp_path / "run", classes=3)
    (tmp_path / "run" / "classifier.keras").write_bytes(b"damaged")
    with pytest.raises(CorruptArtifactError, match="classifier.keras"):
        exported_lib.Exported(tmp_path / "run")


def test_a_model_that_differs_is_not_published(tmp_path, monkeypatch):
    make_run(tmp_path / "run")
    real = exported_lib.Exported.endpoints
    save = exported_lib.Exported.save

    def save_another(self, path):
        monkeypatch.setattr(
            exported_lib.Exported,
            "endpoints",
            lambda self, images: {k: v + 1 for k, v in real(self, images).items()},
        )
        save(self, path)
        monkeypatch.setattr(exported_lib.Exported, "endpoints", real)

    monkeypatch.setattr(exported_lib.Exported, "save", save_another)
    with pytest.raises(CorruptArtifactError, match="differs"):
        export(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out" / "saved_model").exists()
    assert not (tmp_path / "out" / "DONE").exists()
    assert not list((tmp_path / "out").glob("saved_model.tmp-*"))


def test_paper_size_networks_keep_their_size(tmp_path):
    path = tmp_path / "run"
    make_run(path, stem="standard", normalization="lrn", fc_units=(16, 16), image_size=99)
    assert read_flags(path) == {"image_size": "99"}
    facts = exported_lib.Exported(path).describe()
    assert facts["input"]["shape"] == [None, 99, 99, 3]
    assert {"pool5", "fc6", "fc7"} <= set(facts["outputs"])


@pytest.mark.parametrize("long_side", [0, 40])
def test_a_segmenter_gives_the_class_of_every_pixel(tmp_path, long_side):
    backbone, _ = make_run(tmp_path / "run")
    segmenter = fcn.build_fcn(backbone, 5, fc_units=(8, 8))
    for weight in segmenter.get_layer("score").weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    save_model(segmenter, tmp_path / "run" / fcn.FILE_NAME)
    (tmp_path / "run" / "flags.txt").write_text(f"--image_size=64\n--fcn_long_side={long_side}\n")
    export(tmp_path / "run", tmp_path / "out")
    loaded = tf.saved_model.load(str(tmp_path / "out" / "saved_model"))
    images = np.random.default_rng(1).integers(0, 256, [2, 41, 59, 3], np.uint8)
    logits = segmenter(backbone.normalize(images), training=False)["logits"].numpy()
    found = loaded.serve(tf.constant(images))
    assert set(found) == {"logits", "classes"} and found["classes"].shape == (2, 41, 59)
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-3, atol=1e-3 * np.abs(logits).max())
    assert (found["classes"].numpy() == logits.argmax(-1)).mean() > 0.999
    encoded = tf.constant([tf.io.encode_jpeg(image).numpy() for image in images])
    assert loaded.serve_jpeg(encoded)["classes"].shape == (
        (2, 28, 40) if long_side else (2, 41, 59)
    )
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert told["outputs"] == dict(logits=[None, None, None, 5], classes=[None, None, None])
    assert told["input"]["long_side"] == (long_side or None)


def test_a_detector_gives_scores_and_boxes_of_regions(tmp_path):
    backbone, _ = make_run(tmp_path / "run")
    means, deviations = np.full([3, 4], 0.1), np.full([3, 4], 0.2)
    model = fast_rcnn.build_fast_rcnn(
        backbone,
        fc_units=(160, 160),
        dropout_rate=0.5,
        code_means=means,
        code_deviations=deviations,
    )
    for name in ("logits", "normalized_codes"):
        kernel = model.get_layer(name).kernel
        kernel.assign(np.random.default_rng(0).normal(0, 0.2, kernel.shape))
    save_model(model, tmp_path / "run" / fast_rcnn.FILE_NAME)
    (tmp_path / "run" / "flags.txt").write_text(
        "--image_size=32\n--detection_test_scale=64\n--detection_test_max_side=90\n"
    )
    (tmp_path / "run" / "metrics.json").write_text(
        json.dumps(dict(facts=dict(class_names=["a", "b", "c"])))
    )
    export(tmp_path / "run", tmp_path / "out")
    loaded, random = (
        tf.saved_model.load(str(tmp_path / "out" / "saved_model")),
        np.random.default_rng(1),
    )
    image, boxes = (
        random.integers(0, 256, [40, 70, 3], np.uint8),
        np.int32([[0, 0, 69, 39], [10, 5, 30, 38], [50, 20, 52, 21]]),
    )
    # Compared with what the task computes in testing.
    scores, found = Detector(model)(image, boxes, [64], 90.0)
    for given in (image, image.astype(np.float32)):
        outputs = loaded.serve(tf.constant(given), tf.constant(boxes, tf.float32))
        assert set(outputs) == {"scores", "boxes"} and outputs["boxes"].shape == (3, 3, 4)
        np.testing.assert_allclose(outputs["scores"], scores, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(outputs["boxes"], found, atol=1e-2)
    assert found.std() > 1 and scores.std() > 0.01
    signatures = loaded.signatures
    assert set(signatures) == {"serve", "serve_jpeg", "serving_default"}
    named = signatures["serving_default"](
        image=tf.constant(image, tf.float32), boxes=tf.constant(boxes, tf.float32)
    )
    np.testing.assert_allclose(named["scores"], scores, rtol=1e-4, atol=1e-5)
    encoded = tf.io.encode_jpeg(image, quality=100)
    pixels = tf.io.decode_jpeg(encoded).numpy()
    expected, _ = Detector(model)(pixels, boxes, [64], 90.0)
    np.testing.assert_allclose(
        loaded.serve_jpeg(encoded, tf.constant(boxes, tf.float32))["scores"],
        expected,
        rtol=1e-4,
        atol=1e-5,
    )
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert told["outputs"] == dict(scores=[None, 3], boxes=[None, 3, 4]) and told[
        "class_names"
    ] == ["a", "b", "c"]
    assert (told["input"]["short_side"], told["input"]["max_side"]) == (64, 90)
    (tmp_path / "run" / "metrics.json").write_text("{}")
    with pytest.raises(CorruptArtifactError, match="metrics.json: damaged .facts holds nothing"):
        load_run(tmp_path / "run")

"""The command, from photos to answers: each kind of run once, against the network itself."""

import csv
import importlib
import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import flag_words, jpeg_of, smooth_picture
from PIL import Image

from ccssl_tf.data import image_list, image_ops, records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone_file import load_model, save_backbone, save_model
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.runs.errors import FlagError, InputError

predict = importlib.import_module("ccssl_tf.predict")
NAMES = ["ant", "bee", "cow"]
SIZE = 32


def command(**values):
    predict.main(predict.COMMAND.parse(flag_words(**values)))


def answers(directory):
    """The rows of predictions.csv."""
    with open(directory / "predictions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four photos in folders called like splits, one of them turned, and one that is none."""
    root = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(("a.jpg", "train/b.jpg", "val/c.jpg", "val/d.jpg")):
        (root / name).parent.mkdir(exist_ok=True)
        exif = Image.Exif()
        if number == 3:
            exif[0x0112] = 6
        picture = Image.fromarray(smooth_picture(number, 40, 52))
        picture.save(root / name, quality=95, exif=exif)
    (root / "none.jpg").write_bytes(b"no picture")
    return root


def _finish(path, task=None, **facts):
    flags = f"--image_size={SIZE}\n" + (f"--task={task}\n" if task else "")
    (path / "flags.txt").write_text(flags)
    (path / "metrics.json").write_text(json.dumps(dict(facts=facts)))
    (path / "run.json").write_text(json.dumps(dict(command=["ccssl_tf.train"], inputs={})))
    (path / "DONE").write_text("{}")
    return path


def _classifier(path, task="supervised", **facts):
    path.mkdir()
    tf.keras.utils.set_random_seed(0)
    backbone = AlexNet(stem="small", width_multiplier=0.05, fc_units=(), image_size=SIZE)
    save_backbone(backbone, path)
    classifier = build_classifier(backbone, 3, SIZE)
    head = classifier.get_layer("logits")
    head.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in head.get_weights()])
    save_model(classifier, path / "classifier.keras")
    return _finish(path, task, **facts)


def _logits(run, photos, name):
    """What the classifier says of a photo, turned upright by Pillow."""
    from PIL import ImageOps

    with Image.open(photos / name) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    data = jpeg_of(upright, quality=95) if name == "val/d.jpg" else (photos / name).read_bytes()
    crop = image_ops.evaluation_crop(tf.constant(data), SIZE)[None]
    model = load_model(run / "classifier.keras")
    backbone = next(layer for layer in model.layers if isinstance(layer, AlexNet))
    return model(backbone.normalize(crop), training=False)["logits"].numpy()[0]


@pytest.mark.parametrize("task", ["supervised", "voc07_classification"])
def test_classes_with_their_probabilities(photos, tmp_path, task):
    run = _classifier(tmp_path / "run", task, class_names=NAMES)
    command(run=run, source=photos, workdir=tmp_path / "out", top=2)
    rows = answers(tmp_path / "out")
    assert sorted({row["filename"] for row in rows}) == [
        *("a.jpg", "train/b.jpg", "val/c.jpg", "val/d.jpg")
    ]
    assert len(rows) == 8
    for name in ("a.jpg", "val/c.jpg", "val/d.jpg"):
        logits = _logits(run, photos, name).astype(float)
        likely = 1 / (1 + np.exp(-logits))
        if task == "supervised":
            likely = np.exp(logits) / np.exp(logits).sum()
        order = np.argsort(-likely)[:2]
        found = [row for row in rows if row["filename"] == name]
        assert [int(row["rank"]) for row in found] == [1, 2]
        # The turned photo was encoded again, by another encoder's settings.
        tolerance = 0.05 if name == "val/d.jpg" else 1e-4
        for row, label in zip(found, order, strict=True):
            assert (int(row["label"]), row["class"]) == (label, NAMES[label])
            np.testing.assert_allclose(float(row["probability"]), likely[label], atol=tolerance)
    assert "none.jpg\tnot an image" in (tmp_path / "out" / "bad_images.txt").read_text()
    assert not (tmp_path / "out" / "photos").exists()


def test_clusters_with_names_and_margins(photos, tmp_path, image_dir):
    """Features as the run extracted them, the nearest centroid, and how much nearer it is."""
    backbone = tmp_path / "backbone"
    backbone.mkdir()
    network = AlexNet(stem="small", width_multiplier=0.05, fc_units=(), image_size=SIZE)
    save_backbone(network, backbone)
    _finish(backbone)
    extract, cluster = (
        importlib.import_module(f"ccssl_tf.{name}") for name in ("extract", "cluster")
    )
    extract.main(
        extract.COMMAND.parse(
            flag_words(
                extractor="endpoint",
                init_backbone=backbone,
                endpoint="conv3",
                pool_grid=1,
                image_size=SIZE,
                data_dir=image_dir,
                split="train",
                workdir=tmp_path / "features",
            )
        )
    )
    run = tmp_path / "clusters"
    cluster.main(
        cluster.COMMAND.parse(
            flag_words(features_dir=tmp_path / "features", num_clusters=4, workdir=run)
        )
    )
    (tmp_path / "names.csv").write_text('cluster,name\n0,"grass, green"\n1,sky\n2,sea\n3,sand\n')
    command(
        run=run,
        source=photos,
        workdir=tmp_path / "out",
        cluster_names=tmp_path / "names.csv",
        keep_records=True,
    )
    rows = {row["filename"]: row for row in answers(tmp_path / "out")}
    assert len(rows) == 4
    centroids = np.load(run / "centroids.npy", allow_pickle=False)
    for name in ("a.jpg", "val/c.jpg"):
        data = tf.constant((photos / name).read_bytes())
        crop = image_ops.evaluation_crop(data, SIZE)[None]
        maps = network(network.normalize(crop))["conv3"].numpy()[0]
        # Features are stored in float16.
        features = maps.max((0, 1)).astype(np.float16).astype(float)
        distances = np.linalg.norm(features - centroids, axis=1)
        first, second = np.sort(distances)[:2]
        row = rows[name]
        assert int(row["cluster"]) == distances.argmin()
        assert row["name"] == ["grass, green", "sky", "sea", "sand"][distances.argmin()]
        np.testing.assert_allclose(float(row["distance"]), first, rtol=5e-3)
        np.testing.assert_allclose(float(row["margin"]), second - first, atol=1e-2 * second)
    # Kept records are images like any others.
    images = tmp_path / "out" / "photos"
    assert set(image_list.filenames(images, "train", 4)) == {name.encode() for name in rows}
    assert Manifest.read(images, "images").num_examples("train") == 4
    assert next(records.read_shard(next(images.glob("*.tfrecord"))))


def test_what_answers_nothing_is_refused_before_any_work(photos, tmp_path):
    run = _classifier(tmp_path / "run", num_clusters=3)
    out = tmp_path / "out"
    for values, said in (
        (dict(run=tmp_path), "no finished run there"),
        (dict(source=tmp_path / "nothing"), "--source=.*nothing: no such file or directory"),
        (dict(proposals="x"), "--proposals: is for detectors"),
        (dict(cluster_names=tmp_path / "no.csv"), "--cluster_names=.*no.csv: cannot be read"),
    ):
        with pytest.raises(InputError, match=said):
            command(**(dict(run=run, source=photos, workdir=out) | values))
    for content, said in (
        ("cluster,name\n0\n", "row 1: '0', expected"),
        ("0,a\n0,b\n", "cluster 0 comes twice"),
        ("0,a\nx,b\n", "row 2: 'x,b'"),
    ):
        (tmp_path / "names.csv").write_text(content)
        with pytest.raises(InputError, match=said):
            command(run=run, source=photos, workdir=out, cluster_names=tmp_path / "names.csv")
    with pytest.raises(FlagError, match="--top=0"):
        command(run=run, source=photos, workdir=out, top=0)
    assert not out.exists()
    (run / "classifier.keras").unlink()
    with pytest.raises(InputError, match="holds no classifier; name a run with a classifier, a"):
        command(run=run, source=photos, workdir=out)


def test_a_dry_run_tells_and_writes_nothing(photos, tmp_path, capsys):
    run = _classifier(tmp_path / "run", class_names=NAMES)
    command(run=run, source=photos, workdir=tmp_path / "out", dry_run=True)
    assert "would write filename, rank, label, class, probability" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()

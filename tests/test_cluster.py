import csv
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from conftest import flag_words, write_images
from PIL import Image
from sklearn.metrics.pairwise import euclidean_distances

from ccssl_tf import cluster
from ccssl_tf.clustering import pseudo_labels, read_pseudo_labels
from ccssl_tf.clustering.rows.preprocessing import Preprocessing
from ccssl_tf.clustering.stage_settings import ClusteringSettings
from ccssl_tf.data import image_batches, image_list, records
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.features import extract_features
from ccssl_tf.runs.digests import Digests
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.files import file_sha256
from ccssl_tf.task import Extractor


class Thumbnails(Extractor):
    """The pixels of 4 x 4 pictures as features."""

    dim = 48

    def __init__(self, name="thumbnails"):
        self.name = name

    def describe(self):
        return dict(extractor=dict(name=self.name))

    def batches(self, data_dir, split, shards):
        for batch in image_batches.evaluation_images(
            data_dir, split, image_size=4, batch_size=16, shards=shards
        ).as_numpy_iterator():
            yield batch["index"], batch["image"].reshape([-1, 48]).astype(np.float32)


def write_features(directory, image_dir, split, extractor=None):
    directory.mkdir()
    extract_features(extractor or Thumbnails(), image_dir, split, directory, dtype="float32")
    return directory


@pytest.fixture(scope="module")
def features(tmp_path_factory, image_dir):
    root = tmp_path_factory.mktemp("features")
    return {split: write_features(root / split, image_dir, split) for split in ("train", "val")}


def command(**values):
    cluster.main(cluster.COMMAND.parse(flag_words(**values)))


@pytest.fixture(scope="module")
def clustered(tmp_path_factory, features):
    path = tmp_path_factory.mktemp("clusters") / "out"
    command(
        features_dir=features["train"],
        assign_dir=[features["train"], features["val"]],
        num_clusters=5,
        workdir=path,
    )
    return path


def test_every_file_has_a_digest(clustered):
    files = {
        path.relative_to(clustered).as_posix() for path in clustered.rglob("*") if path.is_file()
    }
    assert {"centroids.npy", "nearest.json", "pictures/nearest_images.png"} <= files
    digests = Digests(clustered)
    assert digests.names == files - {".lock", ".holder", "digests.json"}
    assert digests.faults() == [] and digests.not_judged() == []


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_image_gets_the_nearest_centroid(clustered, image_dir, split):
    images = manifest_lib.Manifest.read(image_dir, "images")
    labels = read_pseudo_labels(clustered, split, images.fingerprint(split))
    centroids = np.load(clustered / "centroids.npy", allow_pickle=False)
    thumbnails = np.empty([images.num_examples(split), 48])
    names = {}
    for batch in image_batches.evaluation_images(
        image_dir, split, image_size=4, batch_size=16
    ).as_numpy_iterator():
        thumbnails[batch["index"]] = batch["image"].reshape([-1, 48])
        names.update(zip(batch["index"], batch["filename"], strict=True))
    distances = np.linalg.norm(thumbnails[:, None] - centroids[None], axis=-1)
    np.testing.assert_array_equal(labels, distances.argmin(axis=1))
    kept = pseudo_labels.read_split(clustered, split, images.fingerprint(split))
    np.testing.assert_array_equal(kept.nearest, np.argsort(distances, axis=1))
    np.testing.assert_allclose(kept.nearest_distances, np.sort(distances, axis=1), rtol=1e-4)
    table = json.loads((clustered / "nearest.json").read_text())[split]
    for number, row in enumerate(table):
        members = np.flatnonzero(labels == number)
        order = members[np.argsort(distances[members, number], kind="stable")][:11]
        assert (row["cluster"], row["size"]) == (number, len(members))
        assert [item["index"] for item in row["nearest"]] == order.tolist()
        np.testing.assert_allclose(
            [item["distance"] for item in row["nearest"]], distances[order, number], rtol=1e-4
        )
        assert [item["filename"] for item in row["nearest"]] == [
            names[i].decode(errors="backslashreplace") for i in order
        ]
    manifest = manifest_lib.Manifest.read(clustered, "pseudo_labels")
    for shard in manifest.shards(split):
        for serialized in records.read_shard(clustered / shard.name):
            record = {
                name: value.numpy()[0]
                for name, value in records.parse_pseudo_label([serialized]).items()
            }
            assert record["filename"] == names[record["index"]]


def test_the_list_of_clusters(clustered, image_dir):
    """Against distances to all centroids, and the names in the records."""
    centroids = np.load(clustered / "centroids.npy", allow_pickle=False)
    with open(clustered / "clusters.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["filename", "split", "index", "cluster", "distance", "margin"]
    assert [row["split"] for row in rows] == ["train"] * 48 + ["val"] * 16
    for split in ("train", "val"):
        listed = {int(row["index"]): row for row in rows if row["split"] == split}
        for batch in image_batches.evaluation_images(
            image_dir, split, image_size=4, batch_size=16
        ).as_numpy_iterator():
            pixels = batch["image"].reshape([-1, 48]).astype(np.float64)
            distances = np.linalg.norm(pixels[:, None] - centroids[None], axis=-1)
            for index, name, each in zip(batch["index"], batch["filename"], distances, strict=True):
                row, (first, second) = listed[index], np.sort(each)[:2]
                assert image_list.filename_of(row["filename"]) == name
                assert int(row["cluster"]) == each.argmin()
                np.testing.assert_allclose(float(row["distance"]), first, rtol=1e-4)
                np.testing.assert_allclose(float(row["margin"]), second - first, atol=1e-2)


@pytest.mark.parametrize("options", [{}, dict(pca_dim=5, l2_normalize=True)])
def test_near_duplicates_of_copies_and_of_all(image_dir, tmp_path, options, capsys):
    """Against all distances within clusters; the third image is one of the first again."""
    images = tmp_path / "images"
    write_images(images, {"train": [20], "val": [12]})
    manifest = manifest_lib.Manifest.read(images, "images")
    (shard,) = manifest.shards("train")
    examples = list(records.read_shard(images / shard.name))
    copied = tf.train.Example.FromString(examples[0])
    copied.features.feature["image/index"].int64_list.value[:] = [2]
    copied.features.feature["image/filename"].bytes_list.value[:] = [b"again, 2.jpg"]
    examples[2] = copied.SerializeToString()
    shards = {"train": [records.write_shard(images / shard.name, examples)]}
    shards["val"] = manifest.shards("val")
    manifest_lib.Manifest("images", shards, manifest.info).write(images)
    directories = [write_features(tmp_path / split, images, split) for split in ("train", "val")]
    settings = dict(features_dir=directories[0], assign_dir=directories, num_clusters=3, **options)
    command(**settings, near_duplicates=0.7, workdir=tmp_path / "out")
    out, lines = tmp_path / "out", capsys.readouterr().out
    centroids = np.load(out / "centroids.npy", allow_pickle=False)
    wanted = []
    for split in ("train", "val"):
        pixels = np.empty([manifest.num_examples(split), 48])
        names = {}
        for batch in image_batches.evaluation_images(
            images, split, image_size=4, batch_size=16
        ).as_numpy_iterator():
            pixels[batch["index"]] = batch["image"].reshape([-1, 48])
            names.update(zip(batch["index"], batch["filename"], strict=True))
        if options:
            pixels = Preprocessing.load(out / "preprocessing.npz").transform(pixels)
        to_centroids = euclidean_distances(pixels, centroids)
        labels, limit = to_centroids.argmin(1), 0.7 * to_centroids.min(1).mean()
        lengths = np.linalg.norm(pixels[:, None].astype(np.float64) - pixels, axis=-1)
        pairs = np.argwhere(np.triu((lengths <= limit) & (labels[:, None] == labels), 1))
        for a, b in sorted(pairs.tolist(), key=lambda pair: (labels[pair[0]], pair)):
            wanted.append(
                [split, str(labels[a]), str(a), str(b), names[a], names[b], lengths[a, b]]
            )
        metrics = json.loads((out / "metrics.json").read_text())["splits"][split]
        assert metrics["near_duplicate_pairs"] == len(pairs)
        shown = f"near duplicates  {split}  {len(pairs)} pairs of {len(np.unique(pairs))} images"
        assert shown in lines
    with open(out / "near_duplicates.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert ",".join(header) == "split,cluster,index_a,index_b,filename_a,filename_b,distance"
    assert [row[:4] for row in rows] == [row[:4] for row in wanted]
    found = [[image_list.filename_of(name) for name in row[4:6]] for row in rows]
    assert found == [row[4:6] for row in wanted]
    np.testing.assert_allclose(
        [float(row[6]) for row in rows], [row[6] for row in wanted], rtol=1e-4, atol=1e-6
    )
    copies = [row for row in rows if row[0] == "train" and row[2:4] == ["0", "2"]]
    assert [(row[5], row[6]) for row in copies] == [("again, 2.jpg", "0")]


def test_large_clusters_are_divided(features, tmp_path, capsys, image_dir):
    """The stage's files are those of the clusters there are in the end."""
    command(
        features_dir=features["train"],
        assign_dir=[features["train"], features["val"]],
        num_clusters=2,
        max_cluster_share=0.25,
        workdir=tmp_path / "out",
    )
    assert "k-means  split 2 clusters into " in capsys.readouterr().out
    centroids = np.load(tmp_path / "out" / "centroids.npy", allow_pickle=False)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert 4 <= len(centroids) == metrics["num_clusters"]
    assert metrics["cluster_size"]["max"] <= 12
    manifest = manifest_lib.Manifest.read(tmp_path / "out", "pseudo_labels")
    assert manifest.info["num_clusters"] == len(centroids)
    images = manifest_lib.Manifest.read(image_dir, "images").fingerprint("train")
    labels = read_pseudo_labels(tmp_path / "out", "train", images)
    assert np.bincount(labels).max() <= 12
    table = json.loads((tmp_path / "out" / "nearest.json").read_text())["train"]
    assert [row["size"] for row in table] == np.bincount(labels).tolist()
    assert not list((tmp_path / "out").glob("checkpoint*"))
    with pytest.raises(InputError, match="max_cluster_share=0.02: less than one of 48 rows"):
        command(
            features_dir=features["train"],
            num_clusters=2,
            max_cluster_share=0.02,
            workdir=tmp_path / "other",
        )


def test_pages_of_clusters_on_request(features, tmp_path):
    command(
        features_dir=features["train"], num_clusters=5, cluster_pages=3, workdir=tmp_path / "out"
    )
    pages = tmp_path / "out" / "pages"
    names = sorted(path.name for path in pages.iterdir())
    assert len(names) == 4 and names[0] == "train.html"
    overview = (pages / "train.html").read_text()
    assert all(f'href="{name}"' in overview for name in names[1:])
    table = json.loads((tmp_path / "out" / "nearest.json").read_text())["train"]
    largest = max(table, key=lambda row: row["size"])
    page = (pages / f"train_cluster_{largest['cluster']:05}.html").read_text()
    assert f"Cluster {largest['cluster']} of train: {largest['size']} images" in page
    assert page.count("<figure>") == largest["size"] and "data:image/jpeg;base64," in page


def test_without_the_list_of_clusters_and_their_photos(features, tmp_path):
    command(
        features_dir=features["train"],
        num_clusters=5,
        clusters_csv=False,
        cluster_browser=False,
        workdir=tmp_path / "out",
    )
    assert not (tmp_path / "out" / "clusters.csv").exists()
    assert not (tmp_path / "out" / "browser.json").exists()
    assert not (tmp_path / "out" / "projector_config.pbtxt").exists()


def test_the_photos_of_the_clusters_and_who_is_near_whom(clustered, image_dir):
    """Against distances of all pixels; the photos of the first split are there."""
    content = json.loads((clustered / "browser.json").read_text())
    table = json.loads((clustered / "nearest.json").read_text())["train"]
    assert content["split"] == "train" and len(content["names"]) == 48
    assert [one["size"] for one in content["clusters"]] == [row["size"] for row in table]
    pixels = {}
    for batch in image_batches.evaluation_images(
        image_dir, "train", image_size=4, batch_size=16
    ).as_numpy_iterator():
        for name, image in zip(batch["filename"], batch["image"], strict=True):
            pixels[image_list.text_of(name)] = image.reshape(48).astype(np.float64)
    rows = np.stack([pixels[name] for name in content["names"]])
    apart = np.linalg.norm(rows[:, None] - rows, axis=-1)
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(content["apart"], np.sort(apart, 1)[:, :8], rtol=1e-3)


def test_the_numbers_and_the_picture(clustered, features):
    metrics = json.loads((clustered / "metrics.json").read_text())
    assert (
        metrics["num_clusters"] == 5
        and metrics["num_examples"] == 48
        and metrics["empty_clusters"] == 0
    )
    assert metrics["cluster_size"]["min"] >= 1 and 1 <= metrics["cluster_size"]["perplexity"] <= 5
    for split, count in (("train", 48), ("val", 16)):
        assert metrics["splits"][split]["num_examples"] == count
        assert set(metrics["splits"][split]) == {"num_examples", "nmi", "ari", "purity"}
    info = manifest_lib.Manifest.read(clustered, "pseudo_labels").info
    assert info["centroids_sha256"] == file_sha256(clustered / "centroids.npy")
    with Image.open(clustered / "pictures" / "nearest_images.png") as picture:
        assert picture.size[0] == 11 * 100 + 4 and (picture.size[1] - 4) % 100 == 0
    assert not (clustered / "checkpoint.npz").exists() and (clustered / "DONE").is_file()
    assert list(clustered.glob("events.*"))
    points = (clustered / "projector" / "features.tsv").read_text().splitlines()
    assert len(points) == 48 and len(points[0].split("\t")) == 48


def test_a_second_call_does_nothing_and_the_run_repeats_bit_for_bit(
    clustered, features, tmp_path, capsys
):
    settings = dict(
        features_dir=features["train"],
        assign_dir=[features["train"], features["val"]],
        num_clusters=5,
    )
    command(**settings, workdir=clustered)
    assert "already complete" in capsys.readouterr().out
    command(**settings, workdir=tmp_path / "again")
    for name in ("centroids.npy", "manifest.json", "metrics.json", "nearest.json"):
        assert (tmp_path / "again" / name).read_bytes() == (clustered / name).read_bytes()
    with pytest.raises(InputError, match="was made from another --assign_dir"):
        command(**dict(settings, assign_dir=[features["val"]]), workdir=clustered)


def test_a_dry_run_writes_nothing(features, tmp_path, capsys):
    command(features_dir=features["train"], num_clusters=5, workdir=tmp_path / "out", dry_run=True)
    assert not list(tmp_path.iterdir())
    assert "48 rows x 48" in capsys.readouterr().out
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="already holds something else"):
        command(features_dir=features["train"], num_clusters=5, workdir=tmp_path, dry_run=True)


def test_features_are_preprocessed_alike_for_every_split(features, tmp_path, image_dir):
    command(
        features_dir=features["train"],
        assign_dir=[features["val"]],
        num_clusters=4,
        pca_dim=5,
        whiten=True,
        l2_normalize=True,
        workdir=tmp_path / "out",
    )
    centroids = np.load(tmp_path / "out" / "centroids.npy", allow_pickle=False)
    preprocessing = Preprocessing.load(tmp_path / "out" / "preprocessing.npz")
    assert (
        centroids.shape == (4, 5)
        and preprocessing.projection.shape == (5, 48)
        and preprocessing.l2_normalize
    )
    thumbnails = np.empty([16, 48])
    for batch in image_batches.evaluation_images(
        image_dir, "val", image_size=4, batch_size=16
    ).as_numpy_iterator():
        thumbnails[batch["index"]] = batch["image"].reshape([-1, 48])
    distances = np.linalg.norm(preprocessing.transform(thumbnails)[:, None] - centroids, axis=-1)
    images = manifest_lib.Manifest.read(image_dir, "images").fingerprint("val")
    np.testing.assert_array_equal(
        read_pseudo_labels(tmp_path / "out", "val", images), distances.argmin(axis=1)
    )
    with pytest.raises(InputError, match="pca_dim=49"):
        command(
            features_dir=features["train"], num_clusters=4, pca_dim=49, workdir=tmp_path / "other"
        )
    assert not (tmp_path / "other").exists() and not list((tmp_path / "out").glob("checkpoint*"))


def test_without_the_images_there_are_labels_without_names(image_dir, tmp_path, capsys):
    images = tmp_path / "images"
    shutil.copytree(image_dir, images)
    directory = write_features(tmp_path / "features", images, "val")
    fingerprint = manifest_lib.Manifest.read(images, "images").fingerprint("val")
    shutil.rmtree(images)
    command(features_dir=directory, num_clusters=3, workdir=tmp_path / "out")
    assert "the images of split val are not there" in capsys.readouterr().out
    assert len(read_pseudo_labels(tmp_path / "out", "val", fingerprint)) == 16
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["splits"] == dict(
        val=dict(num_examples=16)
    )
    assert not (tmp_path / "out" / "pictures").exists()
    command(features_dir=directory, num_clusters=3, workdir=tmp_path / "named", data_dir=image_dir)
    assert "nmi" in json.loads((tmp_path / "named" / "metrics.json").read_text())["splits"]["val"]


def test_refusals(features, image_dir, tmp_path):
    train, out = features["train"], tmp_path / "out"
    with pytest.raises(FlagError, match="--features_dir"):
        command(num_clusters=5, workdir=out)
    with pytest.raises(FlagError, match="--num_clusters=-1"):
        command(features_dir=train, num_clusters=-1, workdir=out)
    with pytest.raises(InputError, match="--num_clusters=49"):
        command(features_dir=train, num_clusters=49, workdir=out)
    with pytest.raises(InputError, match="split train is already given"):
        command(features_dir=train, assign_dir=[train, train], num_clusters=5, workdir=out)
    with pytest.raises(InputError, match="holds images, not features"):
        command(features_dir=image_dir, num_clusters=5, workdir=out)
    other = write_features(tmp_path / "other", image_dir, "val", Thumbnails("another"))
    with pytest.raises(InputError, match="extractor is .*another"):
        command(features_dir=train, assign_dir=[other], num_clusters=5, workdir=out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("images", "clusters"),
    [(1, 1), (48, 2), (100, 3), (3000, 100), (60_001, 2000), (1_281_167, 2000)],
)
def test_the_number_of_clusters_follows_from_that_of_the_images(images, clusters):
    settings = ClusteringSettings(features_dir="features")
    assert settings.of_rows(images).num_clusters == clusters
    given = ClusteringSettings(features_dir="features", num_clusters=7)
    assert given.of_rows(images) is given


def test_a_number_of_clusters_that_was_chosen_is_recorded(features, tmp_path):
    for _ in range(2):
        command(features_dir=features["train"], workdir=tmp_path / "out")
    assert "--num_clusters=2\n" in (tmp_path / "out" / "flags.txt").read_text()


def test_features_of_other_images_are_refused(image_dir, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(image_dir, images)
    directory = write_features(tmp_path / "features", images, "val")
    manifest = manifest_lib.Manifest.read(images, "images")
    before = manifest.fingerprint("val")
    manifest_lib.Manifest("images", {"val": manifest.splits["train"]}, manifest.info).write(images)
    now = manifest_lib.Manifest.read(images, "images").fingerprint("val")
    with pytest.raises(InputError, match=f"{now}.*{before}"):
        command(features_dir=directory, num_clusters=3, workdir=tmp_path / "out")


def test_the_manifest_tells_the_images_of_the_centroids_from_those_that_got_labels(
    tmp_path, image_dir
):
    """Centroids of one data set, pseudo-labels of another (Table 2 of the paper)."""
    other = tmp_path / "other"
    write_images(
        other, {"train": [12, 8]}, info=dict(class_names=None, source="places205"), first_seed=500
    )
    fitted, assigned = (
        write_features(tmp_path / "b", other, "train"),
        write_features(tmp_path / "c", image_dir, "train"),
    )
    command(features_dir=fitted, assign_dir=[assigned], num_clusters=3, workdir=tmp_path / "out")
    info = manifest_lib.Manifest.read(tmp_path / "out", "pseudo_labels").info
    ours, theirs = (
        manifest_lib.Manifest.read(directory, "images") for directory in (image_dir, other)
    )
    assert info["fitted_images"] == dict(
        source="places205", split="train", fingerprint=theirs.fingerprint("train")
    )
    assert info["images_source"] == dict(train=ours.info["source"])
    assert info["images_fingerprint"] == dict(train=ours.fingerprint("train"))
    assert info["fitted_features_fingerprint"] != info["features_fingerprint"]["train"]
    assert len(read_pseudo_labels(tmp_path / "out", "train", ours.fingerprint("train"))) == 48
    with pytest.raises(InputError, match="were made from images with fingerprint"):
        read_pseudo_labels(tmp_path / "out", "train", theirs.fingerprint("train"))

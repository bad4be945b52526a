"""Features made elsewhere: rows or a network, behind one extractor."""

import keras
import numpy as np
import pytest

from ccssl_tf import cluster
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features import extract_features
from ccssl_tf.features.external import ExternalExtractor
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import file_sha256


@pytest.fixture
def count(image_dir):
    return Manifest.read(image_dir, "images").num_examples("train")


def test_a_file_of_rows(image_dir, tmp_path, count):
    array = np.random.default_rng(0).normal(size=(count, 3))
    np.save(tmp_path / "rows.npy", array)
    extractor = ExternalExtractor(features_file=str(tmp_path / "rows.npy"))
    assert extractor.dim == 3 and extractor.settings.model is None
    assert extractor.inputs() == dict(features_file=str(tmp_path / "rows.npy"))
    ((index, rows),) = extractor.batches(image_dir, "train", [1])
    np.testing.assert_array_equal(rows, array[index].astype(np.float32))
    with pytest.raises(InputError, match="rows for the 16 images of split val"):
        extractor.check(image_dir, "val")


def test_a_network(image_dir, tmp_path):
    keras.utils.set_random_seed(0)
    images = keras.Input([None, None, 3])
    path = tmp_path / "net.keras"
    keras.Model(images, keras.layers.Conv2D(5, 3, name="maps")(images)).save(path)
    extractor = ExternalExtractor(model=str(path), input_range=(0, 1), pool_grid=2, image_size=16)
    assert extractor.dim == 4 * 5 and extractor.inputs() == dict(model=str(path))
    ran = extractor.settings
    assert (ran.output, ran.pooling, ran.batch_size) == ("maps", "max", 256)
    described = extractor.describe()
    assert described["backbone_fingerprint"] == file_sha256(path)
    extractor.check(image_dir, "val")
    (rows,) = (rows for _, rows in extractor.batches(image_dir, "val", [0]))
    # Made from the settings that ran it is the same extractor.
    again = ExternalExtractor(ran)
    assert again.settings == ran and again.describe() == described
    np.testing.assert_array_equal(next(iter(again.batches(image_dir, "val", [0])))[1], rows)


def test_rows_of_one_split_are_clustered_and_label_another(image_dir, tmp_path, count):
    for split, size in dict(train=count, val=16).items():
        np.save(tmp_path / f"{split}.npy", np.random.default_rng(size).normal(size=(size, 3)))
        (tmp_path / split).mkdir()
        manifest = extract_features(
            ExternalExtractor(features_file=str(tmp_path / f"{split}.npy")),
            image_dir,
            split,
            tmp_path / split,
        )
        assert manifest.info["features_file"] == dict(
            name=f"{split}.npy", sha256=file_sha256(tmp_path / f"{split}.npy")
        )
    words = [
        f"--features_dir={tmp_path / 'train'}",
        *(f"--assign_dir={tmp_path / split}" for split in ("train", "val")),
        "--num_clusters=3",
        f"--workdir={tmp_path / 'clusters'}",
    ]
    cluster.main(cluster.COMMAND.parse(words))
    assert Manifest.read(tmp_path / "clusters", "pseudo_labels").num_examples("val") == 16

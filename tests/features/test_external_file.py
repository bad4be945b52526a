"""Arrays with a row for each image: which goes where, and what is none."""

import numpy as np
import pytest

from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features import extract_features
from ccssl_tf.features.external_file import FileExtractor
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


def opened(path):
    return FileExtractor(features_file=str(path))


@pytest.fixture
def count(image_dir):
    return Manifest.read(image_dir, "images").num_examples("train")


def _rows(directory):
    from ccssl_tf.clustering.rows.sources import DirectorySource

    source = DirectorySource(directory)
    return source.indices(), np.concatenate(list(source.chunks(64)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_row_i_goes_to_image_i(image_dir, tmp_path, count, dtype):
    array = np.random.default_rng(0).integers(0, 200, (count, 7)).astype(dtype)
    np.save(tmp_path / "teacher.npy", array)
    (tmp_path / "out").mkdir()
    extractor = opened(tmp_path / "teacher.npy")
    assert extractor.dim == 7
    extract_features(extractor, image_dir, "train", tmp_path / "out", dtype="float32")
    index, rows = _rows(tmp_path / "out")
    assert sorted(index) == list(range(count))
    np.testing.assert_array_equal(rows, array[index].astype(np.float32))


def test_refusals_name_the_file(image_dir, tmp_path, count):
    def saved(name, array):
        np.save(tmp_path / name, array, allow_pickle=True)
        return tmp_path / name

    with pytest.raises(InputError, match="no such file"):
        opened(tmp_path / "none.npy")
    with pytest.raises(InputError, match="one row for each image"):
        list(opened(saved("few.npy", np.zeros((count - 1, 2)))).batches(image_dir, "train", [0]))
    with pytest.raises(InputError, match=r"expected an array of numbers \[N, D\]"):
        opened(saved("flat.npy", np.zeros(count)))
    with pytest.raises(CorruptArtifactError, match="objects.npy: .*holds Python objects"):
        opened(saved("objects.npy", np.array([[{}], [None]], object)))
    np.savez(tmp_path / "other.npz", other=np.zeros((2, 2)))
    with pytest.raises(InputError, match="no array `features`"):
        opened(tmp_path / "other.npz")
    (tmp_path / "noise.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CorruptArtifactError, match="noise.npz: damaged, or no .npz"):
        opened(tmp_path / "noise.npz")
    broken = saved("nan.npy", np.full((count, 2), np.nan))
    (tmp_path / "out").mkdir()
    with pytest.raises(CorruptArtifactError, match="NaN"):
        extract_features(opened(broken), image_dir, "train", tmp_path / "out")


def test_methods_work_in_any_order(image_dir, tmp_path, count):
    np.save(tmp_path / "a.npy", np.zeros((count, 2)))
    extractor = opened(tmp_path / "a.npy")
    described = extractor.describe()
    assert extractor.inputs() == dict(features_file=str(tmp_path / "a.npy"))
    rows = [len(index) for index, _ in extractor.batches(image_dir, "train", [1])]
    extractor.check(image_dir, "train")
    extractor.prepare(image_dir, "train", tmp_path)
    assert rows == [16] and extractor.describe() == described

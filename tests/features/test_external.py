import numpy as np
import pytest
from absl.testing import flagsaver

from ccssl_tf import cluster
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features import extract_features
from ccssl_tf.features.external import ExternalExtractor
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import file_sha256


@pytest.fixture
def count(image_dir):
    return Manifest.read(image_dir, "images").num_examples("train")


def _rows(directory):
    from ccssl_tf.clustering.sources import DirectorySource

    source = DirectorySource(directory)
    return np.concatenate([source.indices()]), np.concatenate(list(source.chunks(64)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_row_i_goes_to_image_i(image_dir, tmp_path, count, dtype):
    array = np.random.default_rng(0).integers(0, 200, (count, 7)).astype(dtype)
    np.save(tmp_path / "teacher.npy", array)
    (tmp_path / "out").mkdir()
    extractor = ExternalExtractor(tmp_path / "teacher.npy")
    assert extractor.dim == 7
    extract_features(extractor, image_dir, "train", tmp_path / "out", dtype="float32")
    index, rows = _rows(tmp_path / "out")
    assert sorted(index) == list(range(count))
    np.testing.assert_array_equal(rows, array[index].astype(np.float32))


def test_rows_of_one_split_are_clustered_and_label_another(image_dir, tmp_path, count):
    for split, size in dict(train=count, val=16).items():
        np.save(tmp_path / f"{split}.npy", np.random.default_rng(size).normal(size=(size, 3)))
        (tmp_path / split).mkdir()
        manifest = extract_features(
            ExternalExtractor(tmp_path / f"{split}.npy"), image_dir, split, tmp_path / split
        )
        assert manifest.info["features_file"] == dict(
            name=f"{split}.npy", sha256=file_sha256(tmp_path / f"{split}.npy")
        )
    settings = dict(
        features_dir=str(tmp_path / "train"),
        assign_dir=[str(tmp_path / split) for split in ("train", "val")],
        num_clusters=3,
    )
    with flagsaver.flagsaver(**settings, workdir=str(tmp_path / "clusters")):
        cluster.main()
    assert Manifest.read(tmp_path / "clusters", "pseudo_labels").num_examples("val") == 16


def test_file_names_hold_the_order(image_dir, tmp_path, count):
    from ccssl_tf.data import records

    names = np.empty(count, object)
    for shard in Manifest.read(image_dir, "images").shards("train"):
        for one in records.read_shard(image_dir / shard.name):
            parsed = records.parse_image(one)
            names[int(parsed["index"])] = parsed["filename"].numpy()
    features = np.zeros((count, 2), np.float32)
    np.savez(tmp_path / "right.npz", features=features, filenames=names.astype("S"))
    np.savez(tmp_path / "wrong.npz", features=features, filenames=names[::-1].astype("S"))
    assert len(list(ExternalExtractor(tmp_path / "right.npz").batches(image_dir, "train", [0])))
    with pytest.raises(InputError, match="sort the rows"):
        list(ExternalExtractor(tmp_path / "wrong.npz").batches(image_dir, "train", [0]))


def test_refusals_name_the_file(image_dir, tmp_path, count):
    def saved(name, array):
        np.save(tmp_path / name, array, allow_pickle=True)
        return tmp_path / name

    with pytest.raises(InputError, match="no such file"):
        ExternalExtractor(tmp_path / "none.npy")
    with pytest.raises(InputError, match="one row for each image"):
        list(
            ExternalExtractor(saved("few.npy", np.zeros((count - 1, 2)))).batches(
                image_dir, "train", [0]
            )
        )
    with pytest.raises(InputError, match=r"expected an array of numbers \[N, D\]"):
        ExternalExtractor(saved("flat.npy", np.zeros(count)))
    with pytest.raises(CorruptArtifactError, match="plain NumPy arrays"):
        ExternalExtractor(saved("objects.npy", np.array([[{}], [None]], object)))
    np.savez(tmp_path / "other.npz", other=np.zeros((2, 2)))
    with pytest.raises(InputError, match="no array `features`"):
        ExternalExtractor(tmp_path / "other.npz")
    (tmp_path / "noise.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CorruptArtifactError, match="plain NumPy arrays"):
        ExternalExtractor(tmp_path / "noise.npz")
    broken = saved("nan.npy", np.full((count, 2), np.nan))
    (tmp_path / "out").mkdir()
    with pytest.raises(CorruptArtifactError, match="NaN"):
        extract_features(ExternalExtractor(broken), image_dir, "train", tmp_path / "out")

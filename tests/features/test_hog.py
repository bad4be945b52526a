import numpy as np
import pytest

from ccssl_tf.clustering.rows.sources import DirectorySource
from ccssl_tf.data import image_batches
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features import extract_features
from ccssl_tf.features.hog import HogExtractor
from ccssl_tf.ops.hog_blocks import hog_blocks
from ccssl_tf.runs.errors import CorruptArtifactError, FlagError, InputError, Interrupted

SIZE = 41
SETTINGS = dict(
    hog_orientations=6,
    hog_cell=5,
    hog_block=2,
    hog_words=12,
    hog_sample_images=30,
    image_size=SIZE,
)


def make(**changes):
    return HogExtractor(**{**SETTINGS, **changes})


def extract(image_dir, split, directory, **changes):
    """Extracts the features of a split into a new directory."""
    directory.mkdir()
    return extract_features(make(**changes), image_dir, split, directory, dtype="float32")


def files(directory):
    return {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if path.suffix in (".tfrecord", ".npz") or path.name == "manifest.json"
    }


@pytest.fixture(scope="module")
def train(image_dir, tmp_path_factory):
    """A finished extraction of the training images."""
    directory = tmp_path_factory.mktemp("train") / "out"
    extract(image_dir, "train", directory)
    return directory


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_rows_count_the_nearest_words_by_cell(image_dir, tmp_path, grid):
    extractor = make(hog_grid=grid)
    extractor.prepare(image_dir, "train", tmp_path)
    words = np.load(tmp_path / "codebook.npz")["words"].astype(float)
    batch = next(
        iter(image_batches.evaluation_images(image_dir, "val", image_size=SIZE, batch_size=16))
    )
    blocks = (
        hog_blocks(batch["image"], orientations=6, pixels_per_cell=5, cells_per_block=2)
        .numpy()
        .astype(float)
    )
    expected = np.zeros((16, grid, grid, 12))
    side = blocks.shape[1]
    for image, y, x in np.ndindex(16, side, side):
        word = np.argmin(np.square(blocks[image, y, x] - words).sum(axis=1))
        expected[image, y * grid // side, x * grid // side, word] += 1 / side**2
    (index, features), *more = extractor.batches(image_dir, "val", [0])
    assert not more and features.dtype == np.float32 and extractor.dim == grid**2 * 12
    np.testing.assert_array_equal(index, batch["index"])
    np.testing.assert_allclose(features, expected.reshape(16, -1), atol=1e-6)
    np.testing.assert_allclose(features.sum(axis=1), 1, rtol=1e-5)


def test_another_split_takes_the_codebook_of_the_first(image_dir, train, tmp_path):
    extract(image_dir, "val", tmp_path / "val", codebook=str(train))
    ours, theirs = (
        Manifest.read(directory, "features").info for directory in (tmp_path / "val", train)
    )
    assert (
        ours["extractor"] == theirs["extractor"]
        and ours["backbone_fingerprint"] == theirs["backbone_fingerprint"]
    )
    assert not (tmp_path / "val" / "codebook.npz").exists()
    extract(image_dir, "val", tmp_path / "own")
    assert Manifest.read(tmp_path / "own", "features").info["extractor"] != theirs["extractor"]
    extractor = make()
    (tmp_path / "again").mkdir()
    extractor.prepare(image_dir, "train", tmp_path / "again")
    rows = np.concatenate(list(DirectorySource(tmp_path / "val").chunks(100)))
    np.testing.assert_array_equal(
        rows, np.concatenate([features for _, features in extractor.batches(image_dir, "val", [0])])
    )


@pytest.mark.parametrize("stop_after", [0, 1, 3, 4])
def test_a_stopped_extraction_ends_with_the_same_bytes(
    image_dir, train, tmp_path, stop_after, monkeypatch
):
    monkeypatch.setattr("ccssl_tf.features.hog._BLOCK_PIXELS", 5 * SIZE**2)
    asked = []
    with pytest.raises(Interrupted):
        extract_features(
            make(),
            image_dir,
            "train",
            tmp_path,
            dtype="float32",
            should_stop=lambda: asked.append(1) or len(asked) > stop_after,
        )
    extract_features(make(), image_dir, "train", tmp_path, dtype="float32")
    assert files(tmp_path) == files(train)


def test_the_number_of_cores_does_not_matter(image_dir, train, tmp_path, monkeypatch):
    monkeypatch.setattr("ccssl_tf.runs.machine.num_cores", lambda: 7)
    extract_features(make(), image_dir, "train", tmp_path, dtype="float32")
    assert files(tmp_path) == files(train)


def test_refusals(image_dir, train, tmp_path):
    with pytest.raises(
        InputError,
        match="a codebook of other settings, --hog_cell=5, --hog_words=12 instead of --hog_cell=4, "
        "--hog_words=13",
    ):
        make(codebook=str(train), hog_cell=4, hog_words=13)
    with pytest.raises(InputError, match="no such directory"):
        make(codebook=str(tmp_path / "none"))
    with pytest.raises(InputError, match="holds images, not features"):
        make(codebook=str(image_dir))
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(CorruptArtifactError, match="has not finished"):
        make(codebook=str(tmp_path / "unfinished"))
    extract(image_dir, "val", tmp_path / "val", codebook=str(train))
    with pytest.raises(InputError, match="holds no codebook.npz; name the workdir"):
        make(codebook=str(tmp_path / "val"))
    extract(image_dir, "train", tmp_path / "other", seed=1)
    (tmp_path / "other" / "codebook.npz").write_bytes((train / "codebook.npz").read_bytes())
    with pytest.raises(
        CorruptArtifactError, match="not the codebook that the features beside it were made with"
    ):
        make(codebook=str(tmp_path / "other"))


def test_methods_work_in_any_order(image_dir, train, tmp_path):
    with pytest.raises(RuntimeError, match="`prepare` has not learnt a codebook yet"):
        make().describe()
    first, second = (make(codebook=str(train)) for _ in range(2))
    described = first.describe()
    assert first.inputs() == dict(codebook=str(train))
    rows = [rows for _, rows in first.batches(image_dir, "val", [0])]
    first.check(image_dir, "val")
    first.prepare(image_dir, "val", tmp_path)
    assert first.describe() == described and list(tmp_path.iterdir()) == []
    for one, (_, other) in zip(rows, second.batches(image_dir, "val", [0]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_codebook_is_learnt_from_other_images(image_dir, tmp_path):
    extractor, described = make(hog_sample_images=16), []
    for name, split in (("a", "train"), ("b", "val"), ("c", "train")):
        (tmp_path / name).mkdir()
        extractor.prepare(image_dir, split, tmp_path / name)
        described.append(extractor.describe())
    assert described[0] == described[2] != described[1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(image_size=9), "--image_size=9: smaller than a block of 2x2 cells of 5 pixels"),
        (dict(hog_grid=8), "--hog_grid=8: more cells a side than the 7 blocks"),
        (dict(hog_words=0), "--hog_words=0: must be 1 or more"),
        (dict(hog_orientations=10**6), "--hog_orientations=1000000: must be "),
    ],
)
def test_settings_that_cannot_be_right(values, message):
    with pytest.raises(FlagError, match=f"^{message}"):
        make(**values)

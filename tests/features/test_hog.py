import pathlib

import numpy as np
import pytest
from absl.testing import flagsaver

from ccssl_tf import extract
from ccssl_tf.clustering.sources import DirectorySource
from ccssl_tf.data import pipeline
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features import extract_features
from ccssl_tf.features.hog import HogExtractor
from ccssl_tf.ops.hog_blocks import hog_blocks
from ccssl_tf.runs.errors import CorruptArtifactError, InputError, Interrupted

SIZE = 41
SETTINGS = dict(
    orientations=6,
    cell=5,
    block=2,
    words=12,
    grid=1,
    sample_images=30,
    image_size=SIZE,
    codebook_dir=None,
    seed=0,
)
FLAGS = dict(
    extractor="hog",
    hog_orientations=6,
    hog_cell=5,
    hog_words=12,
    hog_sample_images=30,
    image_size=SIZE,
    feature_dtype="float32",
)


def make(**changes):
    return HogExtractor(**{**SETTINGS, **changes})


def command(**values):
    with flagsaver.flagsaver(
        **FLAGS,
        **{
            name: str(value) if hasattr(value, "parts") else value for name, value in values.items()
        },
    ):
        extract.main()


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
    command(data_dir=image_dir, workdir=directory)
    return directory


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_rows_count_the_nearest_words_by_cell(image_dir, tmp_path, grid):
    extractor = make(grid=grid)
    extractor.prepare(image_dir, "train", tmp_path)
    words = np.load(tmp_path / "codebook.npz")["words"].astype(float)
    batch = next(iter(pipeline.evaluation_images(image_dir, "val", image_size=SIZE, batch_size=16)))
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
    command(data_dir=image_dir, split="val", workdir=tmp_path / "val", codebook=train)
    ours, theirs = (
        Manifest.read(directory, "features").info for directory in (tmp_path / "val", train)
    )
    assert (
        ours["extractor"] == theirs["extractor"]
        and ours["backbone_fingerprint"] == theirs["backbone_fingerprint"]
    )
    assert not (tmp_path / "val" / "codebook.npz").exists()
    command(data_dir=image_dir, split="val", workdir=tmp_path / "own")
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
        InputError, match="--image_size=9: smaller than a block of 2x2 cells of 5 pixels"
    ):
        make(image_size=9)
    with pytest.raises(InputError, match="--hog_grid=8: more cells a side than the 7 blocks"):
        make(grid=8)
    with pytest.raises(
        InputError,
        match="a codebook of other settings, --hog_cell=5, --hog_words=12 instead of --hog_cell=4, "
        "--hog_words=13",
    ):
        make(codebook_dir=train, cell=4, words=13)
    with pytest.raises(InputError, match="no such directory"):
        make(codebook_dir=tmp_path / "none")
    with pytest.raises(InputError, match="holds images, not features"):
        make(codebook_dir=image_dir)
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(CorruptArtifactError, match="has not finished"):
        make(codebook_dir=tmp_path / "unfinished")
    command(data_dir=image_dir, split="val", workdir=tmp_path / "val", codebook=train)
    with pytest.raises(InputError, match="holds no codebook.npz; name the workdir"):
        make(codebook_dir=tmp_path / "val")
    command(data_dir=image_dir, workdir=tmp_path / "other", seed=1)
    (tmp_path / "other" / "codebook.npz").write_bytes((train / "codebook.npz").read_bytes())
    with pytest.raises(
        CorruptArtifactError, match="not the codebook that the features beside it were made with"
    ):
        make(codebook_dir=tmp_path / "other")


def test_a_dry_run_learns_and_writes_nothing(image_dir, tmp_path, capsys):
    command(data_dir=image_dir, workdir=tmp_path / "out", hog_grid=2, dry_run=True)
    assert "48 images, split train, to rows of 48 float32" in capsys.readouterr().out
    assert list(pathlib.Path(tmp_path).iterdir()) == []

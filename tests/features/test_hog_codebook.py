import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.features.hog_codebook import POSITIONS_PER_IMAGE, Codebook, learn
from ccssl_tf.runs.errors import CorruptArtifactError, InputError, Interrupted

SIZE = 32
SETTINGS = dict(image_size=SIZE, hog_words=5)


def describe(images):
    """The pixels of every other row, as descriptors of 3 numbers."""
    return tf.reshape(tf.cast(images[:, ::2], tf.float32), [-1, SIZE * SIZE // 2, 3])


def learnt(image_dir, directory, **changes):
    options = dict(settings=SETTINGS, num_words=5, sample_images=25, seed=0)
    return learn(describe, image_dir, "train", directory, **{**options, **changes})


def test_words_are_the_centroids_of_a_seeded_sample(image_dir, tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    first, again, other = (
        learnt(image_dir, tmp_path / name, seed=seed)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.words.shape == (5, 3) and first.words.dtype == np.float32
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert (tmp_path / "a" / "codebook.npz").read_bytes() == (
        tmp_path / "b" / "codebook.npz"
    ).read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["codebook.npz"]
    loaded = Codebook.load(tmp_path / "a" / "codebook.npz", SETTINGS)
    assert loaded.fingerprint() == first.fingerprint() and loaded.source["sample_images"] == 25


def test_the_sample_is_of_different_images_and_positions(image_dir, tmp_path, monkeypatch):
    from ccssl_tf.features import hog_codebook

    seen = []
    real = hog_codebook.KMeans.fit
    monkeypatch.setattr(
        hog_codebook.KMeans,
        "fit",
        lambda self, rows, **options: seen.append(rows) or real(self, rows, **options),
    )

    def numbered(images):
        index = tf.reduce_sum(tf.cast(images, tf.float32), axis=[1, 2, 3])
        return tf.stack(
            [
                tf.tile(index[:, None], [1, 100]),
                tf.tile(tf.range(100.0)[None], [tf.shape(images)[0], 1]),
            ],
            -1,
        )

    learn(
        numbered,
        image_dir,
        "train",
        tmp_path,
        settings=SETTINGS,
        num_words=5,
        sample_images=25,
        seed=0,
    )
    (rows,) = seen
    rows = rows.reshape(-1, POSITIONS_PER_IMAGE, 2)
    assert len(np.unique(rows[:, 0, 0])) == len(rows) == 20
    assert all(len(np.unique(image[:, 1])) == POSITIONS_PER_IMAGE for image in rows)
    assert len({tuple(image[:, 1]) for image in rows}) == 20


def test_a_stopped_one_is_learnt_to_the_same_bytes(image_dir, tmp_path):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    learnt(image_dir, tmp_path / "whole")
    for stop_after in (0, 1, 3, 4):
        asked = []
        with pytest.raises(Interrupted):
            learnt(
                image_dir,
                tmp_path / "stopped",
                should_stop=lambda asked=asked, most=stop_after: (
                    asked.append(1) or len(asked) > most
                ),
            )
        assert not (tmp_path / "stopped" / "codebook.npz").exists()
    learnt(image_dir, tmp_path / "stopped")
    assert (tmp_path / "whole" / "codebook.npz").read_bytes() == (
        tmp_path / "stopped" / "codebook.npz"
    ).read_bytes()


def test_it_refuses(image_dir, tmp_path):
    with pytest.raises(
        InputError, match="--hog_words=2000: more words than the 800 descriptors of the sample"
    ):
        learnt(image_dir, tmp_path, num_words=2000)
    learnt(image_dir, tmp_path)
    path = tmp_path / "codebook.npz"
    with pytest.raises(InputError, match="other settings, --hog_words=5 instead of --hog_words=6"):
        Codebook.load(path, dict(SETTINGS, hog_words=6))
    with pytest.raises(InputError, match="other images or another sample; name another --workdir"):
        learnt(image_dir, tmp_path, seed=1)
    whole = path.read_bytes()
    np.savez(
        tmp_path / "nan.npz",
        words=np.full((5, 3), np.nan, np.float32),
        facts=np.load(path)["facts"],
    )
    np.savez(tmp_path / "nothing.npz", words=np.zeros((5, 3), np.float32))
    for damaged in (
        whole[:200],
        b"",
        b"PK\x03\x04 nothing",
        (tmp_path / "nan.npz").read_bytes(),
        (tmp_path / "nothing.npz").read_bytes(),
    ):
        path.write_bytes(damaged)
        with pytest.raises(CorruptArtifactError, match="codebook.npz: not a codebook"):
            Codebook.load(path, SETTINGS)

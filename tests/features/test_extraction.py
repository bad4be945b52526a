import numpy as np
import pytest

from ccssl_tf.data import image_batches, records
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.features import extract_features
from ccssl_tf.runs.errors import CorruptArtifactError, InputError, Interrupted
from ccssl_tf.task import Extractor

SIZE = 32


class MeanColors(Extractor):
    """An extractor of three numbers an image, scaled."""

    dim = 3

    def __init__(self, scale=1.0, spoil=None):
        self.scale, self.spoil, self.shards = scale, spoil, []

    def describe(self):
        return dict(extractor=dict(name="mean_colors"))

    def batches(self, data_dir, split, shards):
        self.shards += shards
        for batch in image_batches.evaluation_images(
            data_dir, split, image_size=SIZE, batch_size=5, shards=shards
        ).as_numpy_iterator():
            features = self.scale * batch["image"].mean(axis=(1, 2))
            if self.spoil in batch["index"]:
                features[0, 1] = np.nan
            yield batch["index"], features.astype(np.float32)


def stored_rows(directory):
    manifest = manifest_lib.Manifest.read(directory, "features")
    (split,) = manifest.splits
    index, rows, sizes = [], [], []
    for shard in manifest.shards(split):
        for serialized in records.read_shard(directory / shard.name):
            block = records.parse_features(serialized, manifest.info["dim"], manifest.info["dtype"])
            index.extend(block[0].numpy())
            rows.extend(block[1].numpy())
            sizes.append(len(block[0]))
    return manifest, np.array(index), np.array(rows), sizes


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_are_those_of_the_images(tmp_path, image_dir, dtype):
    manifest = extract_features(MeanColors(), image_dir, "train", tmp_path, dtype=dtype)
    read, index, rows, _ = stored_rows(tmp_path)
    images = manifest_lib.Manifest.read(image_dir, "images")
    assert read == manifest
    assert [s.num_examples for s in manifest.shards("train")] == [
        16,
        16,
        16,
    ] and manifest.num_examples("train") == 48
    assert manifest.info == dict(
        dim=3,
        dtype=dtype,
        split="train",
        data_dir=str(image_dir),
        images_fingerprint=images.fingerprint("train"),
        images_source=images.info["source"],
        extractor=dict(name="mean_colors"),
    )
    assert sorted(index) == list(range(48))
    for batch in image_batches.evaluation_images(
        image_dir, "train", image_size=SIZE, batch_size=7
    ).as_numpy_iterator():
        for image, number in zip(batch["image"], batch["index"], strict=True):
            np.testing.assert_allclose(
                rows[index == number][0],
                image.mean(axis=(0, 1)),
                rtol=1e-3 if dtype == "float16" else 1e-5,
            )


def test_records_hold_128_rows(tmp_path, image_dir, monkeypatch):
    monkeypatch.setattr("ccssl_tf.data.feature_directory.ROWS_PER_RECORD", 6)
    extract_features(MeanColors(), image_dir, "train", tmp_path)
    assert stored_rows(tmp_path)[3] == [6, 6, 4] * 3


@pytest.mark.parametrize("stop_after", [1, 3, 5, 8])
def test_a_stopped_extraction_keeps_finished_shards_and_ends_with_the_same_bytes(
    tmp_path, image_dir, stop_after
):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = extract_features(MeanColors(), image_dir, "train", tmp_path / "whole")
    asked = []
    with pytest.raises(Interrupted):
        extract_features(
            MeanColors(),
            image_dir,
            "train",
            tmp_path / "stopped",
            should_stop=lambda: asked.append(1) or len(asked) > stop_after,
        )
    assert not list((tmp_path / "stopped").glob("*.tmp-*"))
    finished = len(list((tmp_path / "stopped").glob("*.tfrecord")))
    assert finished == stop_after // 4
    again = MeanColors()
    assert extract_features(again, image_dir, "train", tmp_path / "stopped") == whole
    assert again.shards == list(range(finished, 3))
    for shard in whole.shards("train"):
        assert (tmp_path / "whole" / shard.name).read_bytes() == (
            tmp_path / "stopped" / shard.name
        ).read_bytes()
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )


def test_a_finished_shard_that_changed_is_written_again(tmp_path, image_dir):
    asked = []
    with pytest.raises(Interrupted):
        extract_features(
            MeanColors(),
            image_dir,
            "train",
            tmp_path,
            should_stop=lambda: asked.append(1) or len(asked) > 9,
        )
    path = tmp_path / "train-00000-of-00003.tfrecord"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    again = MeanColors()
    extract_features(again, image_dir, "train", tmp_path)
    assert again.shards == [0, 2]
    assert len(stored_rows(tmp_path)[1]) == 48


@pytest.mark.parametrize(
    "extractor, message",
    [(MeanColors(spoil=20), "diverged"), (MeanColors(scale=1e5), "--feature_dtype=float32")],
)
def test_features_that_are_not_finite_are_refused_naming_the_shard(
    tmp_path, image_dir, extractor, message
):
    with pytest.raises(
        CorruptArtifactError,
        match=rf"train-0000\d-of-00003.tfrecord: \d+ of 1?\d features .*{message}",
    ):
        extract_features(extractor, image_dir, "train", tmp_path, dtype="float16")
    assert not (tmp_path / "manifest.json").exists()


def test_an_unknown_split_is_refused(tmp_path, image_dir):
    with pytest.raises(InputError, match="no split 'test'"):
        extract_features(MeanColors(), image_dir, "test", tmp_path)


@pytest.mark.parametrize("scale, dtype", [(1.0, "float16"), (1e5, "float32"), (1e-9, "float32")])
def test_rows_are_stored_as_what_keeps_them_apart(tmp_path, image_dir, scale, dtype):
    manifest = extract_features(MeanColors(scale=scale), image_dir, "train", tmp_path)
    assert manifest.info["dtype"] == dtype
    assert len(np.unique(stored_rows(tmp_path)[1], axis=0)) > 40
    assert not list(tmp_path.glob("chosen*"))


def test_half_precision_that_loses_rows_is_refused_if_asked_for(tmp_path, image_dir):
    with pytest.raises(InputError, match="00000-of-00003.*would lose .*=float32"):
        extract_features(MeanColors(scale=1e-9), image_dir, "train", tmp_path, dtype="float16")

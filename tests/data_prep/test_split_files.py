"""The splits of files by their names, and series that have gaps."""

import pathlib

import pytest

from ccssl_tf.runs.errors import InputError
from data_prep.split_files import files_by_split, split_of_path


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train-00000-of-00002", "train"),
        ("small-train.tfrecord-00000-of-00001", "train"),
        ("my_test-train.tfrecord-00000-of-00001", "train"),
        ("voc_VAL.record", "val"),
        ("instances_train2017.json", "train"),
        ("imagenet1k-validation-07.tar", "val"),
        ("train-00000-of-00001-8b4da49264116bbf.parquet", "train"),
        ("default/test/0000.parquet", "test"),
        ("val2017/shards/0000.tar", "val"),
        ("trainval.tfrecords", "trainval"),
        ("0000.parquet", None),
        ("strain.record", None),
    ],
)
def test_the_split_of_a_path(path, split):
    assert split_of_path(path) == split


def test_files_by_split(capsys):
    files = [pathlib.Path("/a/test", name) for name in ("x-1.tar", "x-0.tar")]
    assert files_by_split("s", files) == {"test": sorted(files)}
    assert files_by_split("s", files, pathlib.Path("/a/test")) == {"train": sorted(files)}
    assert "tells no split by its name" in capsys.readouterr().out
    with pytest.raises(InputError, match="1 files tell no split by their names, others do: .*z"):
        files_by_split("s", [*files, pathlib.Path("/a/z")])


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (("a-00000-of-00002", "a-00001-of-00002"), None),
        (("a-1-of-2.tar", "a-2-of-2.tar"), None),
        (("a-00000-of-00002.x",), "a-00001-of-00002.x"),
        (("a-00000-of-00002-0123456789abcdef.parquet",), "a-00001-of-00002.parquet"),
        (("train-00000-of-00001", "val-00001-of-00002"), "val-00000-of-00002"),
    ],
)
def test_a_series_is_whole(names, missing):
    files = [pathlib.Path("train", name) for name in names]
    if missing is None:
        assert sum(map(len, files_by_split("s", files).values())) == len(names)
    else:
        with pytest.raises(InputError, match=f"^s: train/{missing} is missing; fetch"):
            files_by_split("s", files)

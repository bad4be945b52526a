"""Rows as NumPy, pandas, Polars and Arrow write them."""

import numpy as np
import pytest

from ccssl_tf.features.feature_rows_file import open_rows
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
ROWS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
NAMES = [f"{number}.jpg" for number in range(7)]


def _parquet(path, columns, row_group_size=3):
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return open_rows(path)


def test_numpy(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    rows = open_rows(tmp_path / "a.npy")
    np.testing.assert_array_equal(rows.features, ROWS)
    assert isinstance(rows.features, np.memmap)
    assert (rows.names, rows.indices, rows.splits) == (None, None, None)
    for key, names in (("filenames", np.array(NAMES)), ("path", np.array(NAMES, "S"))):
        np.savez(tmp_path / "a.npz", **{"Embeddings": ROWS, key: names, "split": ["val"] * 7})
        rows = open_rows(tmp_path / "a.npz")
        np.testing.assert_array_equal(rows.features, ROWS)
        assert rows.names == [name.encode() for name in NAMES] and rows.splits == ["val"] * 7
    np.savez(tmp_path / "a.npz", features=ROWS, index=np.arange(7)[::-1])
    assert open_rows(tmp_path / "a.npz").indices.tolist() == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    "features",
    [
        pa.array(list(ROWS), pa.list_(pa.float32())),
        pa.array(list(ROWS), pa.list_(pa.float32(), 3)),
        pa.array(list(ROWS.astype(float)), pa.large_list(pa.float64())),
    ],
    ids=["lists", "lists of one size", "large lists"],
)
def test_lists_of_parquet(tmp_path, features):
    rows = _parquet(tmp_path / "a.parquet", dict(filename=NAMES, embedding=features))
    np.testing.assert_array_equal(rows.features, ROWS)
    assert rows.names == [name.encode() for name in NAMES]


def test_columns_of_parquet(tmp_path):
    columns = {f"f{number}": ROWS[:, number] for number in range(3)}
    rows = _parquet(tmp_path / "a.parquet", columns | dict(index=np.arange(7)))
    np.testing.assert_array_equal(rows.features, ROWS)
    assert rows.indices.tolist() == list(range(7))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (dict(filename=NAMES), "no column of lists and none of numbers; it has filename"),
        (dict(a=list(ROWS), b=list(ROWS)), "the columns a, b may all be the features"),
        (dict(features=[[1.0, 2.0]] * 3 + [[1.0]] * 3), "rows of 1 and of 2 numbers"),
        (dict(features=[[1.0, 2.0], [1.0]]), "row group 0: rows of different numbers"),
        (dict(features=[[1.0], None]), "row group 0: 1 rows without features"),
        (dict(features=[["x"], ["y"]]), "holds no numbers"),
        (dict(features=list(ROWS), index=[0.5] * 7), "indices are float64"),
        (dict(features=list(ROWS), name=NAMES, path=NAMES), "name, path may mean the same"),
    ],
)
def test_parquet_files_that_do_not_do(tmp_path, columns, said):
    with pytest.raises(InputError, match=said):
        _parquet(tmp_path / "a.parquet", columns)


def test_files_that_do_not_do(tmp_path):
    for name in ("a.parquet", "a.npz", "a.npy"):
        with pytest.raises(InputError, match="no such file"):
            open_rows(tmp_path / name)
        (tmp_path / name).write_bytes(b"PAR1 or PK\x03\x04 or \x93NUMPY")
        with pytest.raises((CorruptArtifactError, InputError), match=name):
            open_rows(tmp_path / name)
    np.savez(tmp_path / "a.npz", features=ROWS, filenames=NAMES[:6])
    with pytest.raises(InputError, match="6 filenames for 7 rows of features"):
        open_rows(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", other=ROWS)
    with pytest.raises(InputError, match="holds no array `features`.*it has other"):
        open_rows(tmp_path / "a.npz")

"""Every form of a source is recognised; the forms themselves are tested beside their modules."""

import io
import tarfile

import pytest
from foreign_records import jpeg

from ccssl_tf.runs.errors import InputError
from data_prep import image_sources

DEFAULTS = dict(labels="auto", val_fraction=0.0, classes=None, seed=0)


def _tar(path, names):
    with tarfile.open(path, "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(jpeg())
            archive.addfile(info, io.BytesIO(jpeg()))


def test_forms(tmp_path):
    (tmp_path / "folder/a").mkdir(parents=True)
    (tmp_path / "folder/a/1.jpg").write_bytes(jpeg())
    _tar(tmp_path / "one.tar", ["a/1.jpg"])
    (tmp_path / "tars").mkdir()
    for number in range(2):
        _tar(tmp_path / f"tars/{number}.tar", ["1.jpg"])
    sources = {
        name: image_sources.list_images(tmp_path / name, **DEFAULTS).source
        for name in ("folder", "one.tar", "tars")
    }
    assert sources == {"folder": "image_folder", "one.tar": "image_folder", "tars": "webdataset"}


def test_options_of_another_form_are_refused(tmp_path):
    for number in range(2):
        _tar(tmp_path / f"{number}.tar", ["1.jpg"])
    with pytest.raises(InputError, match="--split_folders: .* holds WebDataset's tars"):
        image_sources.list_images(tmp_path, **DEFAULTS, split_folders="yes")
    (tmp_path / "0.tar").unlink()
    with pytest.raises(InputError, match="--label_column: names a column of --list or of Parquet"):
        image_sources.list_images(tmp_path, **DEFAULTS, label_column="x")

"""Which of its forms a source of images has: folders or a tar of them, Parquet files, WebDataset's
tars.
"""

import pathlib

from ccssl_tf.runs.errors import InputError
from data_prep import folder_layout, held_out, parquet_layout, webdataset_layout
from data_prep.image_set import ImageSet


def list_images(
    source: str | pathlib.Path,
    *,
    labels: str,
    val_fraction: float,
    classes: list[str] | None,
    seed: int,
    list_path: str | pathlib.Path | None = None,
    label_column: str | None = None,
    split_folders: str = "auto",
) -> ImageSet:
    """Lists the images of a source of any form.

    Args: see `folder_layout.list_images`, `parquet_layout` and `webdataset_layout`.

    Raises:
      InputError: see there; or options that the form does not have.
    """
    source = pathlib.Path(source)
    if files := parquet_layout.find_files(source):
        _refuse(source, "Parquet files", list_path, split_folders, labels)
        parquet_layout.require_pyarrow()
        image_set = parquet_layout.list_images(
            source, files, classes=classes, label_column=label_column, labels=labels
        )
        return held_out.with_val(source, image_set, val_fraction, seed)
    if list_path is None and (files := webdataset_layout.find_files(source)):
        _refuse(source, "WebDataset's tars", list_path, split_folders, labels)
        image_set = webdataset_layout.list_images(source, files, classes=classes, labels=labels)
        return held_out.with_val(source, image_set, val_fraction, seed)
    if label_column is not None and list_path is None:
        raise InputError("--label_column: names a column of --list or of Parquet files")
    tars = webdataset_layout.tars_in(source)
    return folder_layout.list_images(
        # A directory with a tar alone means the tar.
        tars[0] if len(tars) == 1 else source,
        labels=labels,
        val_fraction=val_fraction,
        classes=classes,
        seed=seed,
        list_path=list_path,
        label_column=label_column,
        split_folders=split_folders,
    )


def _refuse(source, form, list_path, split_folders, labels):
    if labels == "folders":
        raise InputError(f"--labels=folders: {source} holds {form}; leave it out")
    if list_path is not None:
        raise InputError(f"--list={list_path}: {source} holds {form}; leave it out")
    if split_folders != "auto":
        raise InputError(f"--split_folders: {source} holds {form}; leave it out")

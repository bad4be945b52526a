"""Which row of a file of features belongs to which image, by file name or by index."""

import os
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from ccssl_tf.data import image_list
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data.datasets import serialized_records
from ccssl_tf.features.feature_rows_file import RowsFile
from ccssl_tf.runs.errors import InputError

_SHOWN = 20


def rows_of_images(rows: RowsFile, data_dir: str | os.PathLike, split: str) -> np.ndarray:
    """Returns the row of every image of a split, by image index: [N] int64.

    Rows are found by their file names, as they are or, if that finds all and tells all apart,
    without a leading `./`, folders or suffixes; else by their indices, those of other splits left
    out where the file names splits; else row i is image i's. Rows of no image of the split are not
    used, and are counted in a line.

    Args:
      rows: of the file.
      data_dir: directory of the images.
      split: name of the split.

    Raises:
      InputError: images without a row, or with several; the first 20 are named.
    """
    count = manifest_lib.Manifest.read(data_dir, "images").num_examples(split)
    if rows.names is not None:
        return _by_name(rows, filenames(data_dir, split), split)
    if rows.indices is not None:
        return _by_index(rows, count, split)
    if len(rows.features) != count:
        raise InputError(
            f"{rows.path}: {len(rows.features)} rows for the {count} images of split {split} in "
            f"{data_dir}; one row for each image, in the order of image/index, or names or indices "
            f"of the rows are needed ({data_dir}/{image_list.NAME} tells both)"
        )
    return np.arange(count)


def filenames(data_dir: str | os.PathLike, split: str) -> list[bytes]:
    """Returns the file name of every image of a split, by index, from images.csv or else from the
    records.
    """
    manifest = manifest_lib.Manifest.read(data_dir, "images")
    count = manifest.num_examples(split)
    try:
        return image_list.filenames(data_dir, split, count)
    except FileNotFoundError:
        import tensorflow as tf

        from ccssl_tf.data import records

        names = [b""] * count
        paths = [os.path.join(data_dir, shard.name) for shard in manifest.shards(split)]
        parsed = serialized_records(paths).map(records.parse_image)
        facts = parsed.map(lambda one: (one["index"], one["filename"]), tf.data.AUTOTUNE)
        for index, name in facts.as_numpy_iterator():
            names[index] = name
        return names


def _whole(name: bytes) -> bytes:
    return name.removeprefix(b"./")


def _base(name: bytes) -> bytes:
    return name.replace(b"\\", b"/").rpartition(b"/")[2]


def _without_suffix(name: bytes) -> bytes:
    return os.path.splitext(_whole(name))[0]


def _base_without_suffix(name: bytes) -> bytes:
    return os.path.splitext(_base(name))[0]


_FORMS: dict[str, Callable[[bytes], bytes]] = {
    "as they are": _whole,
    "without suffix": _without_suffix,
    "without folders": _base,
    "without folders and suffix": _base_without_suffix,
}


def _by_name(rows, images, split):
    names = rows.names
    if rows.splits is not None:
        kept = [place for place, one in enumerate(rows.splits) if one == split]
    else:
        kept = range(len(names))
    best = None
    for form, plain in _FORMS.items():
        wanted = {plain(name): index for index, name in enumerate(images)}
        if len(wanted) < len(images) and form != "as they are":
            continue  # Two images would be one.
        found = {}
        double = Counter()
        foreign = []
        for place in kept:
            index = wanted.get(plain(names[place]))
            if index is None:
                foreign.append(names[place])
            elif index in found:
                double[names[place]] += 1
            else:
                found[index] = place
        if best is None or len(found) > len(best[1]):
            best = form, found, double, foreign
        if len(found) == len(images):
            break
    form, found, double, foreign = best
    missing = [name for index, name in enumerate(images) if index not in found]
    twice_named = len(images) - len(set(images))
    if twice_named and missing:
        raise InputError(
            f"{rows.path}: {twice_named} images of split {split} share their names with others; "
            "give indices in place of filenames"
        )
    _refuse(rows.path, split, len(images), missing, list(double), foreign)
    if form != "as they are":
        print(f"{rows.path}: names are compared {form}", flush=True)
    _say_foreign(rows.path, foreign)
    return np.array([found[index] for index in range(len(images))], np.int64)


def _by_index(rows, count, split):
    kept = np.arange(len(rows.indices))
    if rows.splits is not None:
        kept = kept[[one == split for one in rows.splits]]
    indices = rows.indices[kept]
    inside = (indices >= 0) & (indices < count)
    places = np.full(count, -1, np.int64)
    places[indices[inside]] = kept[inside]
    times = np.bincount(indices[inside], minlength=count)
    missing, double = np.flatnonzero(times == 0), np.flatnonzero(times > 1)
    foreign = [b"%d" % index for index in indices[~inside]]
    _refuse(
        rows.path,
        split,
        count,
        [b"%d" % index for index in missing],
        [b"%d" % index for index in double],
        foreign,
    )
    _say_foreign(rows.path, foreign)
    return places


def _refuse(path, split, count, missing, double, foreign):
    said = []
    if missing:
        said.append(f"{len(missing)} of the {count} images have no row: {_shown(missing)}")
    if double:
        said.append(f"{len(double)} images have several rows: {_shown(double)}")
    if said and foreign:
        said.append(f"{len(foreign)} rows are of no image: {_shown(foreign)}")
    if said:
        raise InputError(f"{path}: split {split}: {'; '.join(said)}")


def _say_foreign(path, foreign):
    if foreign:
        print(
            f"{path}: {len(foreign)} rows are of no image of this split and not used: "
            f"{_shown(foreign)}",
            flush=True,
        )


def _shown(names: Iterable[bytes]) -> str:
    texts = [image_list.text_of(name) for name in list(names)[:_SHOWN]]
    more = len(list(names)) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")

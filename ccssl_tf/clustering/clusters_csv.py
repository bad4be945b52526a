"""`clusters.csv`: the cluster of every image that was labelled, for people and other programs."""

import itertools
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from ccssl_tf.clustering.pseudo_labels import PseudoLabels
from ccssl_tf.data import image_list
from ccssl_tf.runs.files import write_csv

NAME = "clusters.csv"
COLUMNS = ("filename", "split", "index", "cluster", "distance", "margin")


def write(
    directory: str | os.PathLike, splits: dict[str, PseudoLabels], margins: dict[str, np.ndarray]
) -> None:
    """Writes the file, wholly or not at all, in the order of the images' indices.

    File names are written as in images.csv (`image_list.text_of`), and are empty where they are not
    known; distance and margin (the distance to the second nearest centroid less that to the
    nearest) have six digits; the margin is empty where there is one cluster.

    Args:
      directory: path of an existing directory.
      splits: split name -> its pseudo-labels.
      margins: split name -> [N] float, in the same order.
    """
    lines = (_rows(split, labels, margins[split]) for split, labels in splits.items())
    write_csv(pathlib.Path(directory) / NAME, COLUMNS, itertools.chain.from_iterable(lines))


def _rows(split: str, labels: PseudoLabels, margins: np.ndarray) -> Iterator[list]:
    for row in np.argsort(labels.index, kind="stable"):
        name = image_list.text_of(labels.filenames[row]) if labels.filenames else ""
        margin = "" if np.isnan(margins[row]) else f"{margins[row]:.6g}"
        cluster, distance = int(labels.labels[row]), f"{labels.distances[row]:.6g}"
        yield [name, split, int(labels.index[row]), cluster, distance, margin]

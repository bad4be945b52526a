"""Proposals others computed: Fast R-CNN's `.mat` files, `.npz` or `.json`."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from ccssl_tf.data.numpy_files import ArrayArchive
from ccssl_tf.runs.damage import told_as_damage
from ccssl_tf.runs.errors import InputError
from data_prep import mat_files
from data_prep.decoding import printable

_ADVICE = "fetch it, or make it, again"


def read_boxes(path: str | pathlib.Path) -> Mapping[str, np.ndarray]:
    """Returns the boxes by image name, as far as the file's format is concerned; `.npz` reads each
    when it is asked for.

    Args:
      path: `.mat` with the cells `images` (names) and `boxes` ([R, 4] y1 x1 y2 x2, as Fast R-CNN
        has them), `.npz` or `.json` (name -> [R, 4] xmin ymin xmax ymax); all of them 1-based
        inclusive pixels.

    Raises:
      InputError: none of these.
      CorruptArtifactError: it is damaged; of `.npz` this may be told when boxes are asked for.
    """
    path = pathlib.Path(path)
    readers = {
        ".mat": _read_mat,
        ".npz": functools.partial(ArrayArchive, advice=_ADVICE),
        ".json": _read_json,
    }
    if path.suffix not in readers:
        raise InputError(f"--source={path}: proposals are read from {', '.join(readers)} files")
    if not path.is_file():
        raise InputError(f"--source={path}: no such file")
    what = f"not a whole {path.suffix} file of boxes"
    with told_as_damage(f"--source={path}", what, _ADVICE):
        boxes = readers[path.suffix](path)
    if not len(boxes):
        raise InputError(f"--source={path}: holds no boxes")
    return boxes


def _read_mat(path):
    try:
        names, counts, boxes = mat_files.read_mat("boxes", path.read_bytes())
    except mat_files.OtherMat as error:
        raise InputError(f"--source={path}: {error}") from error
    of_images = np.split(boxes[:, [1, 0, 3, 2]], np.cumsum(counts)[:-1])
    return dict(zip(names.tolist(), of_images, strict=True))


def _read_json(path):
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise InputError(
            f"--source={path}: expected an object of name: [[xmin, ymin, xmax, ymax], ...]"
        )
    return content


# The files are read once in each process: small beside the images.
_remembered = functools.lru_cache(8)(read_boxes)


@dataclasses.dataclass(frozen=True)
class PrecomputedBoxes:
    """Proposals of images by their names, with or without suffix.

    Attributes:
      paths: see `read_boxes`; of several files each has the images of one split, or some of them.
    """

    paths: tuple[pathlib.Path, ...]

    def boxes(self, parsed: dict[str, np.ndarray]) -> np.ndarray:
        """Returns [R, 4] int32, in the file's order; one pixel outside the image is moved to its
        edge.

        Raises:
          InputError: no boxes of this image, in two files different ones, or some that lie outside
            it, are inverted or no numbers.
        """
        name = printable(parsed["filename"])
        fitting = [
            (path, key)
            for path in self.paths
            for key in (name, name.rpartition(".")[0])
            if key in _remembered(path)
        ]
        if not fitting:
            files = ", ".join(f"--source={path}" for path in self.paths)
            others = sum(len(_remembered(path)) for path in self.paths)
            raise InputError(
                f"{files}: no boxes of {name}; it has {others} other images (boxes of other splits "
                "may lie in another file: give --source for each)"
            )
        (path, key), *others = fitting
        found = self._boxes_in(path, key, parsed)
        for other_path, other_key in others:
            if not np.array_equal(found, self._boxes_in(other_path, other_key, parsed)):
                raise InputError(f"--source={path}, {other_path}: different boxes of {name}")
        return found

    def _boxes_in(self, path, key, parsed):
        found = _remembered(path)[key]
        try:
            boxes = np.asarray(found, np.float64).reshape(-1, 4)
        except (TypeError, ValueError) as error:
            raise InputError(f"--source={path}: {key}: not [R, 4] numbers ({error})") from error
        edges = np.tile([int(parsed["width"]), int(parsed["height"])], 2)
        clipped = np.clip(np.floor(boxes + 0.5), 1, edges)
        good = np.isfinite(boxes) & (np.abs(clipped - boxes) <= 1)
        good = good.all(1) & (clipped[:, :2] <= clipped[:, 2:]).all(1)
        if not good.all():
            box = boxes[np.argmin(good)].tolist()
            raise InputError(
                f"--source={path}: {key}: box {box} (xmin, ymin, xmax, ymax from 1) is inverted or "
                f"outside its {edges[0]}x{edges[1]} pixels"
            )
        return clipped.astype(np.int32)

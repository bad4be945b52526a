"""Features for TensorBoard's PROJECTOR page: points with their photos, clusters and classes.

The page turns them in space, colours them by cluster and finds neighbours. It takes few axes and
few photos, as a browser does: the principal axes of the features, small photos on one sheet.
"""

import io
import math
import pathlib
from collections.abc import Sequence

import numpy as np
from google.protobuf import text_format
from PIL import Image
from sklearn.decomposition import PCA
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from ccssl_tf.clustering.cluster_report import thumbnail
from ccssl_tf.data import image_list
from ccssl_tf.data.image_facts import ImageFacts
from ccssl_tf.runs.files import write_bytes

# Principal axes kept, and pixels of a photo: 3,000 photos are a sheet of 2,640 pixels.
_MAX_AXES, _SIDE = 50, 48
_QUALITY = 80


def write(
    directory: pathlib.Path,
    images: ImageFacts,
    index: np.ndarray,
    labels: np.ndarray,
    distances: np.ndarray,
    class_names: Sequence[str] | None,
    features: np.ndarray,
) -> None:
    """Writes `features.tsv`, `images.tsv`, `photos.jpg` and, last, the file that names them.

    Args:
      directory: of TensorBoard's events; made if absent.
      images: of the split.
      index: [n] int, the image index of every point.
      labels: [n] int, their clusters.
      distances: [n] float, to the centroids.
      class_names: of the images; None where they have none.
      features: [n, D] float32, n > 0.
    """
    directory.mkdir(exist_ok=True)
    points = "\n".join("\t".join(f"{x:.4g}" for x in row) for row in principal(features))
    write_bytes(directory / "features.tsv", f"{points}\n".encode())
    lines = ["cluster\tclass\tdistance\tfilename"]
    for image, label, distance in zip(index, labels, distances, strict=True):
        number = int(images.labels[image])
        name = class_names[number] if class_names and number >= 0 else ""
        # A tab in a name would begin a column.
        name, file = " ".join(name.split()), image_list.text_of(images.filenames[image])
        lines.append(f"{label}\t{name}\t{distance:.4g}\t{file}")
    write_bytes(directory / "images.tsv", "".join(f"{line}\n" for line in lines).encode())
    write_bytes(directory / "photos.jpg", _sheet(images, index))
    config = ProjectorConfig()
    one = config.embeddings.add(
        tensor_name="features",
        tensor_path="features.tsv",
        metadata_path="images.tsv",
    )
    one.sprite.image_path = "photos.jpg"
    one.sprite.single_image_dim.extend([_SIDE, _SIDE])
    write_bytes(directory / "projector_config.pbtxt", text_format.MessageToBytes(config))


def principal(features: np.ndarray) -> np.ndarray:
    """Returns features [n, D] about their mean along at most 50 principal axes: [n, d].

    >>> principal(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])).shape
    (3, 2)
    """
    axes = min(_MAX_AXES, *features.shape)
    if len(features) < 2:  # No axes.
        return features[:, :axes]
    return PCA(axes, svd_solver="auto", random_state=0).fit_transform(features)


def _sheet(images, index):
    """All photos on a square of squares, white where they do not reach, as a JPEG."""
    columns = math.ceil(math.sqrt(len(index)))
    sheet = Image.new("RGB", (columns * _SIDE, columns * _SIDE), "white")
    for place, image in enumerate(index):
        small = thumbnail(images.encoded(int(image)), _SIDE)
        left, top = place % columns * _SIDE, place // columns * _SIDE
        sheet.paste(small, (left + (_SIDE - small.width) // 2, top + (_SIDE - small.height) // 2))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()

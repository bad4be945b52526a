"""(b, c) Clusters the features and labels images with the nearest centroid (section 4)."""

from ccssl_tf.clustering.kmeans import KMeans
from ccssl_tf.clustering.minibatch_kmeans import MiniBatchKMeans
from ccssl_tf.clustering.pseudo_labels import (
    PseudoLabels,
    read_pseudo_labels,
    write_pseudo_labels,
)

__all__ = ["KMeans", "MiniBatchKMeans", "PseudoLabels", "read_pseudo_labels", "write_pseudo_labels"]

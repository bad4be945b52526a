"""(b) Turns images into feature rows for clustering."""

from ccssl_tf.features.extraction import extract_features

__all__ = ["extract_features"]

"""Numbers that tell how good a result is."""

from ccssl_tf.metrics.average_precision import average_precision, detection_average_precision

__all__ = ["average_precision", "detection_average_precision"]

"""K-means as TensorFlow functions, on the devices of a tf.distribute strategy."""

"""What every command does around its work; nothing of images or networks, and no TensorFlow."""

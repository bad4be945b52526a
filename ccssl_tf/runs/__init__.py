"""What every command does around its work; nothing of images or networks, and no TensorFlow."""

from ccssl_tf.runs import starting

if starting.is_command():
    starting.exit_on_signals()

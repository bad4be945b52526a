"""A `.keras` file, or its weights alone, that needs Keras and nothing of this project."""

import functools

import keras

from ccssl_tf.downstream.formats.function_file import FunctionFile
from ccssl_tf.models.plain_network import plain_network


class KerasFile(FunctionFile):
    """A Functional model of Keras's own layers from images to the outputs, by name.

    It takes images of the run's size, float32 or uint8, and can be trained; layers have the names
    they have here.
    """

    name = "keras"
    file_name = "model.keras"

    @functools.cached_property
    def model(self) -> keras.Model:
        """The model; raises InputError where Keras's own layers cannot express it."""
        side = self.exported.image_size
        images = keras.Input([side, side, 3], name="images")
        return plain_network(keras.Model(images, self.exported.outputs(images)))

    def __init__(self, exported, quantization=None):
        """As any; the model is made at once, so that it is refused before anything is written."""
        super().__init__(exported, quantization)
        _ = self.model

    def write(self, path):
        """See `FunctionFile`."""
        self.model.save(path)

    def run(self, path, images):
        """See `FunctionFile`."""
        return keras.saving.load_model(path, compile=False)(images, training=False)


class WeightsFile(KerasFile):
    """The weights of the same model, as `load_weights` takes them."""

    name = "weights"
    file_name = "model.weights.h5"

    def write(self, path):
        """See `FunctionFile`."""
        self.model.save_weights(path)

    def run(self, path, images):
        """See `FunctionFile`."""
        model = keras.models.clone_model(self.model)
        model.load_weights(path)
        return model(images, training=False)

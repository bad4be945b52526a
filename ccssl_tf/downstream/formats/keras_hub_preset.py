"""A preset directory, as KerasHub's `save_to_preset` writes them, of the convolutions."""

import functools
import json

import keras

from ccssl_tf.downstream.exported import TOLERANCE, compare
from ccssl_tf.downstream.formats.file_format import FileFormat
from ccssl_tf.downstream.formats.function_file import random_images
from ccssl_tf.models.plain_network import plain_network
from ccssl_tf.runs.files import atomic_directory, write_json


class KerasHubPreset(FileFormat):
    """`config.json`, `model.weights.h5` and `metadata.json` of a Functional model of Keras's own
    layers, from images of the run's size, float32 in [0, 255], to the last map [B, h, w, C].

    KerasHub puts its heads on it, `ImageClassifier.from_preset(directory, num_classes=N)`, without
    this project. Its `Backbone.from_preset` opens subclasses of its own class only, which would
    have to be imported first, so that the network is the `backbone` of such a task. There is no
    preprocessor, since the network takes images as they are.
    """

    name = "keras_hub"
    file_name = "preset"
    published = staticmethod(atomic_directory)

    def __init__(self, exported, quantization=None):
        """As any; the model is made at once, so that it is refused before anything is written."""
        super().__init__(exported, quantization)
        _ = self.model

    @functools.cached_property
    def model(self) -> keras.Model:
        """The model; raises InputError where Keras's own layers cannot express it."""
        exported = self.exported
        images = keras.Input([exported.image_size, exported.image_size, 3], name="images")
        maps = exported.endpoints(images)[exported.last_map]
        return plain_network(keras.Model(images, maps), "backbone")

    def write(self, path):
        """See `FileFormat`."""
        path.mkdir()
        config = keras.saving.serialize_keras_object(self.model)
        write_json(path / "config.json", _without_compilation(config))
        self.model.save_weights(path / "model.weights.h5")
        facts = dict(
            keras_version=keras.version(),
            parameter_count=self.model.count_params(),
            tasks=["ImageClassifier"],
        )
        write_json(path / "metadata.json", facts)

    def check(self, path):
        """Compares the last map of random images, of a model made as KerasHub makes it."""
        config = json.loads((path / "config.json").read_text())
        model = keras.saving.deserialize_keras_object(config)
        model.load_weights(path / "model.weights.h5")
        images, name = random_images(self.exported), self.exported.last_map
        found = {name: model(images, training=False)}
        expected = {name: self.exported.endpoints(images)[name]}
        difference = compare(found, expected, f"--format={self.name}")
        return dict(tolerance=TOLERANCE, largest_difference=difference)

    def describe(self):
        """Shape, type and range of the images, and what the output is."""
        images = dict(
            name="images",
            shape=[None, *self.model.input_shape[1:]],
            dtype="float32",
            range=[0, 255],
            channels="RGB",
        )
        return dict(input=images, outputs={self.exported.last_map: list(self.model.output_shape)})


def _without_compilation(config):
    """The configuration of an object and all in it, less what KerasHub leaves out, too."""
    if isinstance(config, list):
        return [_without_compilation(one) for one in config]
    if not isinstance(config, dict):
        return config
    left_out = ("compile_config", "build_config")
    return {
        name: _without_compilation(value) for name, value in config.items() if name not in left_out
    }

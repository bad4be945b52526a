"""Any network of keras.applications as a backbone, by its name there: `--backbone=ResNet50`.

Its stages become the endpoints conv1, conv2, ...: of each resolution the last layer that everything after it reads from (the end of
a residual block, an expanded map before the next stride), pools and padding left out. For VGG16 these are conv1_2 .. conv5_3, for ResNet50
the ends of its five stages. Two things differ from what Keras builds, so that a training obeys the rules all backbones here obey: batch
normalisation has the momentum of our own networks and sees the whole global batch (the published 0.99 to 0.999 would make a run of some
hundred steps evaluate with its first statistics), and dropout, of units or of whole residual branches, follows each example's seed.
"""

import contextlib
import difflib
import inspect
import math
import re
import sys

import keras
import numpy as np

from ccssl_tf.errors import InputError
from ccssl_tf.layers import PerExampleDropout
from ccssl_tf.models import backbone as lib
from ccssl_tf.models.backbone import Backbone
from ccssl_tf.ops import color

NETWORKS = tuple(sorted(name for name, value in vars(keras.applications).items() if inspect.isfunction(value)))

# Pixels a side the published weights are for; 224 where nothing is said.
_PUBLISHED_SIZES = dict(
    **dict(InceptionV3=299, InceptionResNetV2=299, Xception=299, NASNetLarge=331),
    **dict(EfficientNetB1=240, EfficientNetB2=260, EfficientNetB3=300, EfficientNetB4=380),
    **dict(EfficientNetB5=456, EfficientNetB6=528, EfficientNetB7=600),
    **dict(EfficientNetV2B1=240, EfficientNetV2B2=260, EfficientNetV2B3=300),
    **dict(EfficientNetV2S=384, EfficientNetV2M=480, EfficientNetV2L=480),
)
# The size at which strides are measured: all maps are even, as networks without a fixed size take them to be.
_MEASURED_SIZE = 512
_BETWEEN_STAGES = (keras.layers.ZeroPadding2D, keras.layers.Cropping2D, keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
_DROPOUT_STREAM = 1200
# Mean and standard deviation of ILSVRC2012, RGB in [0, 1].
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def similar_names(network: str) -> list[str]:
    """Returns the names in keras.applications closest to a misspelt one, or three well-known ones."""
    similar = difflib.get_close_matches(network.lower(), [name.lower() for name in NETWORKS], n=3, cutoff=0.5)
    return [name for name in NETWORKS if name.lower() in similar] or ["MobileNetV2", "ResNet50", "EfficientNetB0"]


def published_size(network: str) -> int:
    """Returns the side, in pixels, of the images that keras.applications' weights of a network were trained on."""
    return _PUBLISHED_SIZES.get(network, 224)


def preprocess(network: str, images):
    """Maps RGB images in [0, 255], any dtype, to what `network` takes, by the `preprocess_input` of its keras.applications module."""
    module = sys.modules[getattr(keras.applications, network).__module__]
    return module.preprocess_input(keras.ops.cast(images, "float32"), data_format="channels_last")


def build_network(network: str, *, weights=None, width_multiplier=1.0, include_top=False) -> keras.Model:
    """Returns keras.applications' own network, without its classifier unless `include_top`.

    Args:
      network: a name of NETWORKS.
      weights: None for random ones, "imagenet" (Keras downloads them unless it has them), or a file of weights.
      width_multiplier: of the channels, in the networks that have it (their `alpha`).
      include_top: with the 1000 classes.

    Raises:
      InputError: a width for a network that has none.
    """
    function, options = getattr(keras.applications, network), {}
    if width_multiplier != 1:
        if "alpha" not in inspect.signature(function).parameters:
            raise InputError(f"--width_multiplier={width_multiplier:g}: {network} has one width; only the MobileNets have others")
        options["alpha"] = width_multiplier
    if not include_top:
        options["input_shape"] = (_MEASURED_SIZE, _MEASURED_SIZE, 3)
    return function(include_top=include_top, weights=weights, **options)


@keras.saving.register_keras_serializable(package="ccssl_tf")
class Application(Backbone):
    """A network of keras.applications without its classifier, for images of any size."""

    def __init__(self, *, network, width_multiplier=1.0, avg_pool=False, colors="rgb", name=None):
        """Builds the network with random weights.

        Args:
          network: its name in keras.applications.
          width_multiplier: scales the channels, in MobileNets.
          avg_pool: adds the endpoint `avg_pool` [B, C], the mean over the last map, which its published classifier reads.
          colors: "rgb" or "gray" (lightness in all three channels, before the network's own preprocessing).
          name: model name; the network's by default.

        Raises:
          InputError: no such network, or it cannot be had like this.
        """
        if network not in NETWORKS:
            raise InputError(f"network: keras.applications has no {network}, but {', '.join(similar_names(network))}")
        if colors == "lab_halves":
            raise InputError(f"--backbone={network}: cannot be split into two halves by colour; alexnet and vgg16 can")
        lib.check_choice("colors", colors, ("rgb", "gray"))
        self._arguments = dict(network=network, width_multiplier=width_multiplier, avg_pool=avg_pool, colors=colors)
        self.network = network
        template = build_network(network, width_multiplier=width_multiplier)
        stages = keras.Model(template.input, {f"conv{i}": op.output for i, op in enumerate(_stage_ends(template), 1)})
        images = keras.Input([None, None, 3], name="images")
        endpoints = dict(keras.models.clone_model(stages, input_tensors=images, clone_function=_cloning(template)).output)
        if avg_pool:
            endpoints["avg_pool"] = keras.layers.GlobalAveragePooling2D(name="avg_pool")(endpoints[f"conv{len(endpoints)}"])
        super().__init__(inputs=images, outputs=endpoints, name=name or network, colors=colors)

    def get_config(self):
        """The constructor's arguments."""
        return dict(self._arguments, name=self.name)

    @classmethod
    def from_flags(cls, *, network: str, image_size: int, with_fc: bool = False, colors: str | None = None) -> "Application":
        """Builds the network for images of `image_size` pixels; `with_fc` adds avg_pool, which classifiers of these networks read."""
        normalization = lib.NORMALIZATION.value
        if normalization != "auto":
            raise InputError(f"--normalization={normalization}: {network} brings its own; leave the flag out")
        backbone = cls(network=network, width_multiplier=lib.WIDTH_MULTIPLIER.value, avg_pool=with_fc, colors=colors or "rgb")
        backbone.check_size(image_size)
        return backbone

    def check_size(self, size: int):
        """Raises InputError where a map of images of `size` pixels a side would vanish."""
        with self._naming_small_images(size):
            self.compute_output_shape((1, size, size, 3))

    def __call__(self, images, *arguments, **options):
        """As any network's; InputError where the images are too small."""
        with self._naming_small_images(images.shape[1]):
            return super().__call__(images, *arguments, **options)

    @contextlib.contextmanager
    def _naming_small_images(self, size):
        try:
            yield
        except ValueError as error:
            if "negative" not in str(error).lower():
                raise
            raise InputError(f"{self.network}: images of {size} pixels are too small for it; use a larger --image_size") from error

    def normalize(self, images):
        """Maps RGB images in [0, 255] of any dtype to the float32 the network takes, by its own `preprocess_input`."""
        if self.colors == "gray":
            images = keras.ops.repeat(2.55 * color.rgb_to_lab(images)[..., :1], 3, axis=-1)
        return preprocess(self.network, images)

    def input_convention(self) -> dict:
        """What `backbone.json` says of the input."""
        seen = "RGB" if self.colors == "rgb" else "2.55 L of Lab in all three channels"
        return dict(channels="RGB", range=[0, 255], seen=f"{seen}, through keras.applications' preprocess_input of {self.network}")

    def transferred_layers(self, keep_fc: bool = False) -> list:
        """Returns all layers with weights: there is nothing else than the convolutional part."""
        return [layer for layer in self.layers if layer.weights]

    def architecture(self) -> dict:
        """Returns what must agree for weights to be copied: the network and the shape of every weight."""
        kernels = {layer.name: [list(weight.shape) for weight in layer.weights] for layer in self.transferred_layers()}
        facts = {}
        if any(isinstance(layer, keras.layers.BatchNormalization) for layer in self.layers):
            facts["normalization"] = "batch_norm"
        return dict(type=self.network, kernels=kernels, **facts)


def _stage_ends(network) -> list:
    """Returns the operation at the end of each stage: the last of its resolution that all later ones read from."""
    operations = [op for op in network.operations if not isinstance(op, keras.layers.InputLayer)]
    place = {id(op.output): number for number, op in enumerate(operations)}
    last_reader = [0] * len(operations)
    for number, op in enumerate(operations):
        for tensor in op.input if isinstance(op.input, list | tuple) else [op.input]:
            if id(tensor) in place:
                last_reader[place[id(tensor)]] = number
    stages, reach, started = {}, 0, False
    for number, op in enumerate(operations):
        # Input scaling has weights too, but none that learn.
        started = started or bool(getattr(op, "trainable_weights", ()))
        is_passed_by_all, reach = reach <= number, max(reach, last_reader[number])
        shape = op.output.shape
        if started and len(shape) == 4 and shape[1] > 1 and not isinstance(op, _BETWEEN_STAGES):
            stage = stages.setdefault(round(math.log2(_MEASURED_SIZE / shape[1])), {})
            # NASNet's cells read the last two cells: there is nothing all pass by, and a cell ends where its branches are joined.
            joins = isinstance(op.input, list | tuple)
            stage["bottleneck" if is_passed_by_all else "joint" if joins else "other"] = op
    return [next(stage[kind] for kind in ("bottleneck", "joint", "other") if kind in stage) for _, stage in sorted(stages.items())]


def published_names(layers) -> dict:
    """Maps layers to their names; those Keras numbers by what a process built before get the numbers of a fresh process."""
    names, numbered = {}, {}
    for layer in layers:
        stem, number = re.fullmatch(r"(.+?)(?:_(\d+))?", layer.name).groups()
        names[layer] = layer.name
        if stem.replace("_", "") == type(layer).__name__.lower():
            numbered.setdefault(stem, []).append((int(number or 0), layer))
    for stem, group in numbered.items():
        for place, (_, layer) in enumerate(sorted(group, key=lambda pair: pair[0])):
            names[layer] = f"{stem}_{place}" if place else stem
    return names


def _cloning(template):
    """Returns what makes our copy of one layer of `template`."""
    names = published_names(template.layers)
    dropouts = [layer for layer in template.layers if isinstance(layer, keras.layers.Dropout)]

    def clone(layer):
        if isinstance(layer, keras.Sequential):
            return keras.Sequential([clone(inner) for inner in layer.layers], name=layer.name)
        config = dict(layer.get_config(), name=names.get(layer, layer.name))
        if isinstance(layer, keras.layers.Dropout):
            stream, whole = _DROPOUT_STREAM + dropouts.index(layer), layer.noise_shape is not None
            return PerExampleDropout(layer.rate, stream, drops_rows=whole, name=config["name"], dtype=config["dtype"])
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            # EfficientNet's comes with its weights; the numbers are always the same, and it is a constant in its successors.
            config |= dict(mean=IMAGENET_MEAN, variance=np.square(IMAGENET_DEVIATION).tolist())
        if isinstance(layer, keras.layers.BatchNormalization):
            config |= dict(momentum=lib.BATCH_NORM_MOMENTUM, synchronized=keras.backend.backend() == "tensorflow")
        return type(layer).from_config(config)

    return clone

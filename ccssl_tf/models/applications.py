"""Any network of keras.applications as a backbone, by its name there: `--backbone=ResNet50`.

Its stages become the endpoints conv1, conv2, ... (see `ccssl_tf.models.staged_network`): for VGG16
these are conv1_2 .. conv5_3, for ResNet50 the ends of its five stages.
"""

import dataclasses
import difflib
import inspect
import re
import sys

import keras

from ccssl_tf.models import backbone as lib
from ccssl_tf.models.staged_network import SEEN, StagedNetwork, check_colors, stages_of
from ccssl_tf.runs.errors import InputError

NETWORKS = tuple(
    sorted(name for name, value in vars(keras.applications).items() if inspect.isfunction(value))
)

# Pixels a side the published weights are for; 224 where nothing is said.
_PUBLISHED_SIZES = dict(
    **dict(InceptionV3=299, InceptionResNetV2=299, Xception=299, NASNetLarge=331),
    **dict(EfficientNetB1=240, EfficientNetB2=260, EfficientNetB3=300, EfficientNetB4=380),
    **dict(EfficientNetB5=456, EfficientNetB6=528, EfficientNetB7=600),
    **dict(EfficientNetV2B1=240, EfficientNetV2B2=260, EfficientNetV2B3=300),
    **dict(EfficientNetV2S=384, EfficientNetV2M=480, EfficientNetV2L=480),
)
# The size at which strides are measured: all maps are even, as networks without a fixed size take
# them to be.
_MEASURED_SIZE = 512
# Mean and standard deviation of ILSVRC2012, RGB in [0, 1].
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def similar_names(network: str) -> list[str]:
    """Returns the names closest to a misspelt one, or three well-known ones."""
    similar = difflib.get_close_matches(
        network.lower(), [name.lower() for name in NETWORKS], n=3, cutoff=0.5
    )
    return [name for name in NETWORKS if name.lower() in similar] or [
        "MobileNetV2",
        "ResNet50",
        "EfficientNetB0",
    ]


def published_size(network: str) -> int:
    """Returns the side, in pixels, of the images that the published weights were made for."""
    return _PUBLISHED_SIZES.get(network, 224)


def preprocess(network: str, images):
    """Maps RGB images in [0, 255], of any dtype, to what `network` takes.

    The `preprocess_input` of its module in keras.applications does.
    """
    module = sys.modules[getattr(keras.applications, network).__module__]
    return module.preprocess_input(keras.ops.cast(images, "float32"), data_format="channels_last")


def build_network(
    network: str, *, weights=None, width_multiplier=1.0, include_top=False
) -> keras.Model:
    """Returns keras.applications' own network, without its classifier unless `include_top`.

    Args:
      network: a name of NETWORKS.
      weights: None for random ones, "imagenet" (Keras downloads them unless it has them), or a file
        of weights.
      width_multiplier: of the channels, in the networks that have it (their `alpha`).
      include_top: with the 1000 classes.

    Raises:
      InputError: a width for a network that has none.
    """
    function, options = getattr(keras.applications, network), {}
    if width_multiplier != 1:
        if "alpha" not in inspect.signature(function).parameters:
            raise InputError(
                f"--width_multiplier={width_multiplier:g}: {network} has one width; only the "
                "MobileNets have others"
            )
        options["alpha"] = width_multiplier
    if not include_top:
        options["input_shape"] = (_MEASURED_SIZE, _MEASURED_SIZE, 3)
    return function(include_top=include_top, weights=weights, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApplicationSettings(lib.WidthSettings):
    """A network of keras.applications."""


@keras.saving.register_keras_serializable(package="ccssl_tf")
class Application(StagedNetwork):
    """A network of keras.applications without its classifier, for images of any size.

    >>> from ccssl_tf import Application
    >>> network = Application(network="MobileNetV2", width_multiplier=0.35)
    >>> network.endpoint_names
    ['conv1', 'conv2', 'conv3', 'conv4', 'conv5']
    """

    Settings = ApplicationSettings

    def __init__(self, *, network, width_multiplier=1.0, avg_pool=False, colors="rgb", name=None):
        """Builds the network with random weights.

        Args:
          network: its name in keras.applications.
          width_multiplier: scales the channels, in MobileNets.
          avg_pool: adds the endpoint `avg_pool` [B, C], the mean over the last map, which its
            published classifier reads.
          colors: "rgb" or "gray" (lightness in all three channels, before the network's own
            preprocessing).
          name: model name; the network's by default.

        Raises:
          InputError: no such network, or it cannot be had like this.
        """
        if network not in NETWORKS:
            raise InputError(
                f"network: keras.applications has no {network}, but "
                f"{', '.join(similar_names(network))}"
            )
        check_colors(f"--backbone={network}", colors)
        self._arguments = dict(
            network=network, width_multiplier=width_multiplier, avg_pool=avg_pool, colors=colors
        )
        self.network = network
        template = build_network(network, width_multiplier=width_multiplier)
        names = published_names(template.layers)

        def override(layer):
            # EfficientNet's scaling comes with its weights; the numbers are always the same, and it
            # is a constant in its successors.
            is_scaling = isinstance(layer, keras.layers.Normalization) and layer.weights
            scaling = (
                dict(
                    mean=IMAGENET_MEAN, variance=[deviation**2 for deviation in IMAGENET_DEVIATION]
                )
                if is_scaling
                else {}
            )
            return dict(name=names.get(layer, layer.name), **scaling)

        super().__init__(
            stages_of(template, network),
            side=None,
            name=name or network,
            colors=colors,
            avg_pool=avg_pool,
            override=override,
        )

    def get_config(self):
        """The constructor's arguments."""
        return dict(self._arguments, name=self.name)

    @classmethod
    def from_settings(
        cls,
        settings: ApplicationSettings,
        *,
        network: str,
        image_size: int,
        with_fc: bool = False,
        colors: str | None = None,
    ) -> "Application":
        """Builds the network for images of `image_size` pixels.

        `with_fc` adds avg_pool, which classifiers of these networks read.
        """
        backbone = cls(
            network=network,
            width_multiplier=settings.width_multiplier or 1.0,
            avg_pool=with_fc,
            colors=colors or "rgb",
        )
        backbone.check_size(image_size)
        return backbone

    def normalize(self, images):
        """Maps RGB images in [0, 255] of any dtype to the float32 the network takes.

        Its own `preprocess_input` does.
        """
        return preprocess(self.network, self.seen(images))

    def input_convention(self) -> dict:
        """What `backbone.json` says of the input."""
        return dict(
            channels="RGB",
            range=[0, 255],
            seen=f"{SEEN[self.colors]}, through keras.applications' preprocess_input of "
            f"{self.network}",
        )

    def architecture(self) -> dict:
        """Returns what must agree for weights to be copied: network and shapes of weights."""
        return dict(type=self.network, **self.weight_shapes())


def published_names(layers) -> dict:
    """Maps layers to the names that they have in a fresh process.

    Keras numbers some by what a process built before.
    """
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

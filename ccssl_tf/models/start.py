"""The network a run starts from: a new one of some kind, or what a file holds, with its weights.

What may be said of a network is in its kind's settings. One that starts from a file brings its own
architecture: what was said of that must agree with the file, and what was not is taken from it.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping

from ccssl_tf.data import SMALL_IMAGE_SIZE
from ccssl_tf.models import application_weights, applications, importers
from ccssl_tf.models.backbone import Backbone, BackboneSettings, copy_convolutions
from ccssl_tf.models.folding import fold_batch_normalization
from ccssl_tf.models.input_convention import InputConventionSettings
from ccssl_tf.models.keras_network import KerasNetwork, load_network
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.fields import as_text
from ccssl_tf.runs.settings import Settings, fields_of, setting
from ccssl_tf.runs.values import Values

# What --backbone is called where --init_backbone is somebody else's Keras model: a flags.txt that
# says so starts the same network again.
_KERAS = "keras"
# Flags that describe the kernels of a network -> the constructor's argument.
_ARCHITECTURE = dict(
    width_multiplier="width_multiplier", normalization="normalization", alexnet_order="order"
)
# Arguments that do not touch the kernels: a network started from a file may have others.
_FREE_ARGUMENTS = (
    "conv1_stride",
    "is_padded",
    "image_size",
    "fc_units",
    "dropout_rate",
    "avg_pool",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSettings(Settings):
    """Which network, and where its weights are from."""

    init_backbone: str | None = setting(
        None,
        "What to start from: a training workdir or its backbone.keras, any Keras model with maps "
        "(FILE.keras, with --input_range), or published weights for --backbone (.npz of a "
        "caffemodel's arrays, .h5 of keras.applications' networks); none, or the word random: "
        "random weights.",
    )
    backbone: str | None = setting(
        None,
        "Network: alexnet, vgg16, or any of keras.applications by its name there, e.g. ResNet50.",
        automatic="alexnet, or what --init_backbone holds",
    )

    @property
    def path(self) -> str | None:
        """The path --init_backbone names; None for random weights."""
        return start_path(self.init_backbone)


def start_path(init_backbone: str | None) -> str | None:
    """Returns the path --init_backbone names; None for random weights.

    A sweep over networks asks for these by the word.
    """
    return None if init_backbone in (None, "", "random") else init_backbone


def backbone_kind(
    kinds: Mapping[str, type[Backbone]], name: str
) -> tuple[type[Backbone], dict[str, str]]:
    """Returns the class of the backbone called `name`, and which network of the class it is.

    The latter is arguments of its `from_settings`.

    Args:
      kinds: name -> class of ours, `registry.BACKBONES`.
      name: of one of ours or of keras.applications.

    Raises:
      FlagError: neither; the message says which there are.
    """
    if name in kinds:
        return kinds[name], {}
    if name == _KERAS:
        raise FlagError(
            f"--backbone={_KERAS}: is what --init_backbone=FILE.keras holds; name that file"
        )
    if name not in applications.NETWORKS:
        similar = ", ".join(applications.similar_names(name))
        raise FlagError(
            f"--backbone={name}: unknown; there are {', '.join(kinds)} and those of "
            f"keras.applications, such as {similar}"
        )
    return applications.Application, dict(network=name)


def settings_classes(
    kinds: Mapping[str, type[Backbone]], selected: Mapping[str, str | None]
) -> list[type[Settings]]:
    """Returns the settings of a network by what was said of it.

    They are those of every kind where the file to start from will say which it is.

    Args:
      kinds: `registry.BACKBONES`.
      selected: the texts of --backbone and --init_backbone, None where not given.
    """
    common: list[type[Settings]] = [NetworkSettings, InputConventionSettings]
    name, path = selected["backbone"], start_path(selected["init_backbone"])
    if name is None and path is None:
        name = next(iter(kinds))
    if name == _KERAS and path is not None:
        return [*common, KerasNetwork.Settings]
    if name is not None:
        return [*common, backbone_kind(kinds, name)[0].Settings]
    every = [*kinds.values(), applications.Application, KerasNetwork]
    return [*common, *dict.fromkeys(kind.Settings for kind in every)]


class Start:
    """Builds the network a run starts from, as often as it is needed."""

    def __init__(
        self,
        kinds: Mapping[str, type[Backbone]],
        network: NetworkSettings,
        architectures: Iterable[BackboneSettings] = (),
        *,
        image_size: int,
        convention: InputConventionSettings | None = None,
    ):
        """Args are settings.

        Args:
          kinds: `registry.BACKBONES`.
          network: which one, and from where.
          architectures: what was said of it: of its kind, or of every kind it may turn out to be.
          image_size: S, pixels a side of the images (not of tiles of them).
          convention: what somebody else's network takes for a pixel.
        """
        self._kinds, self._network, self._image_size = kinds, network, image_size
        self._architectures = {type(settings): settings for settings in architectures}
        self._convention = convention or InputConventionSettings()

    @classmethod
    def from_values(cls, kinds, values: Values, *, image_size: int) -> "Start":
        """Takes the settings from those of a command that has `settings_classes`."""
        architectures = [group for group in values if isinstance(group, BackboneSettings)]
        convention = values[InputConventionSettings]
        network = values[NetworkSettings]
        return cls(kinds, network, architectures, image_size=image_size, convention=convention)

    def _settings_of(self, kind) -> BackboneSettings:
        return self._architectures.get(kind.Settings) or kind.Settings()

    def _named(self) -> tuple[type[Backbone], dict[str, str]]:
        return backbone_kind(self._kinds, self._network.backbone or next(iter(self._kinds)))

    def _kind_of(self, backbone) -> tuple[str, type[Backbone], dict]:
        """The name of a backbone as --backbone has it, its class, and which of the class it is."""
        if isinstance(backbone, KerasNetwork):
            return _KERAS, KerasNetwork, dict(config=backbone.get_config())
        if isinstance(backbone, applications.Application):
            return backbone.network, type(backbone), dict(network=backbone.network)
        name = next(name for name, kind in self._kinds.items() if kind is type(backbone))
        return name, type(backbone), {}

    def build(
        self, *, with_fc: bool = False, colors: str | None = None, keep_fc: bool = False
    ) -> Backbone:
        """Returns the network: that of the file, with its convolutions, or a random one.

        Of a file's network only what does not touch the kernels follows the settings: input size,
        stride (2 on tiles, 4 on whole images) and fully connected layers. `normalization="none"`
        merges the batch normalisation of a file into its kernels.

        Args:
          with_fc: whether it has fully connected layers.
          colors: what it sees of the images (see `Task`); None: what the file's network saw.
          keep_fc: whether fully connected layers are the file's, too; else they start random.

        Raises:
          InputError: something was said of the architecture, and the file says otherwise.
        """
        path = self._network.path
        options = dict(image_size=self._image_size, with_fc=with_fc, colors=colors)
        if not path:
            kind, which = self._named()
            return kind.from_settings(self._settings_of(kind), **which, **options)
        source = self._load(path)
        name, kind, which = self._kind_of(source)
        self._refuse_others(path, name, kind, source)
        config = source.get_config()
        here = kind.from_settings(self._settings_of(kind), **which, **options).get_config()
        self._refuse_another_architecture(path, kind, config, here)
        free = {argument: here[argument] for argument in _FREE_ARGUMENTS if argument in here}
        if keep_fc and free.get("fc_units"):
            free["fc_units"] = config["fc_units"] or free["fc_units"]
        seen = dict(colors=colors) if colors else {}
        network = kind.from_config({**config, **free, **seen})
        copy_convolutions(source, network, path, keep_fc)
        network.weights_from = source.weights_from
        return network

    def _load(self, path):
        """Loads a file: ours, somebody else's Keras model, or published weights of a network."""
        if pathlib.Path(path).suffix in importers.SUFFIXES:
            kind, which = self._named()
            settings = self._settings_of(kind)
            if which:
                width = settings.width_multiplier or 1.0
                return application_weights.import_weights(path, **which, width_multiplier=width)
            # The published architecture, whatever the size of the images here: LRN in AlexNet,
            # nothing in VGG16.
            config = kind.from_settings(settings, image_size=SMALL_IMAGE_SIZE).get_config()
            if config["normalization"] == "batch_norm" and settings.normalization == "auto":
                config["normalization"] = "none"
            return importers.import_backbone(path, kind, **config)
        source = load_network(path, self._convention.convention())
        normalization = getattr(self._settings_of(type(source)), "normalization", None)
        if normalization == "none" and source.get_config().get("normalization") == "batch_norm":
            return fold_batch_normalization(source)
        return source

    def _refuse_others(self, path, name, kind, source):
        """Refuses another kind than was named, and what was said of kinds that it is not."""
        if self._network.backbone not in (None, name):
            raise InputError(
                f"{path}: holds another architecture, {name}, than "
                f"--backbone={self._network.backbone}; leave one of the flags out"
            )
        known = {field.name for field in fields_of(kind.Settings)}
        for settings in self._architectures.values():
            for field in fields_of(type(settings)):
                value = getattr(settings, field.name)
                if field.name not in known and value not in (field.default, None, 1.0):
                    raise InputError(
                        f"--{field.name}={as_text(value)}: {source.name} brings its own; leave the "
                        "flag out"
                    )

    def _refuse_another_architecture(self, path, kind, config, here):
        settings = self._settings_of(kind)
        for field in fields_of(kind.Settings):
            argument = _ARCHITECTURE.get(field.name)
            is_given = not field.is_automatic(getattr(settings, field.name))
            if argument in config and is_given and config[argument] != here[argument]:
                raise InputError(
                    f"{path}: another architecture, with {field.name} {config[argument]}; leave "
                    f"--{field.name}={here[argument]} out or name another file"
                )

    def resolved(self, values: Values, backbone: Backbone) -> Values:
        """Returns a command's settings with what was left open as it is in the network built."""
        name, kind, _ = self._kind_of(backbone)
        network = dataclasses.replace(values[NetworkSettings], backbone=name)
        settings, config = self._settings_of(kind), backbone.get_config()
        ran = {
            field.name: config[argument]
            for field in fields_of(kind.Settings)
            if (argument := _ARCHITECTURE.get(field.name, field.name)) in config
            and field.is_automatic(getattr(settings, field.name))
        }
        others = [type(group) for group in values if isinstance(group, BackboneSettings)]
        values = values.without(*(other for other in others if other is not kind.Settings))
        return values.resolved(network, dataclasses.replace(settings, **ran))

"""Published weights of keras.applications' networks, from a file or by Keras's own download."""

import functools
import pathlib
import warnings

import keras
import numpy as np

from ccssl_tf.models import applications
from ccssl_tf.models.hdf5_files import open_hdf5
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import file_sha256


def import_weights(path, *, network: str, **arguments) -> applications.Application:
    """Builds a network and fills it with published weights.

    Args:
      path: `.h5` or `.weights.h5` of keras.applications' weights, with or without top; or
        "imagenet", which Keras downloads once.
      network: a name of NETWORKS.
      **arguments: of Application.

    Raises:
      InputError: no such file, or it holds the weights of another network or width.
      CorruptArtifactError: the file is damaged.
    """
    backbone = applications.Application(network=network, **arguments)
    width_multiplier = backbone.get_config()["width_multiplier"]
    if path == "imagenet":
        source, told = (
            _download(network, width_multiplier),
            dict(file="imagenet", keras=keras.__version__),
        )
    else:
        source = load_published(network, path, width_multiplier)
        told = dict(file=str(path), sha256=file_sha256(path))
    names = applications.published_names(source.layers)
    theirs = {names[layer]: layer for layer in source.layers}
    for layer in backbone.transferred_layers():
        layer.set_weights(theirs[layer.name].get_weights())
    backbone.weights_from = dict(told, importer=f"keras.applications.{network}")
    return backbone


def _download(network, width_multiplier):
    try:
        # Keras warns that the size is not the published one, which kernels do not depend on.
        with warnings.catch_warnings(action="ignore"):
            return applications.build_network(
                network, weights="imagenet", width_multiplier=width_multiplier
            )
    except InputError:
        raise
    except Exception as error:  # Keras raises a bare Exception for whatever the network does.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"--weights=imagenet: the weights of {network} cannot be had ({reason}); name a file"
        ) from error


def load_published(network: str, path, width_multiplier=1.0) -> keras.Model:
    """Returns keras.applications' own network with the weights of a file.

    It has a classifier where the file has one.

    Raises:
      InputError: no such file, or not this network's weights.
      CorruptArtifactError: not a readable HDF5 file.
    """
    path = pathlib.Path(path)
    open_hdf5(path, "get it again").close()
    build = functools.partial(
        applications.build_network, network, width_multiplier=width_multiplier
    )
    for include_top in (False, True):
        model = build(include_top=include_top)
        # Keras leaves weights that a file lacks as they are, with a warning at most.
        learned = [weight for weight in model.weights if keras.backend.is_float_dtype(weight.dtype)]
        for weight in learned:
            weight.assign(np.full(weight.shape, np.nan))
        try:
            with warnings.catch_warnings(action="ignore"):
                model.load_weights(path)
        except MemoryError:
            raise
        except Exception:  # Keras raises anything on files of another network, or damaged ones.
            continue
        if not any(np.isnan(keras.ops.convert_to_numpy(weight)).any() for weight in learned):
            _check_input_scaling(model, path)
            return model
    width = f" of --width_multiplier={width_multiplier:g}" if width_multiplier != 1 else ""
    raise InputError(
        f"{path}: not the weights of keras.applications.{network}{width}: other layers or shapes; "
        "name their network"
    )


def _check_input_scaling(model, name):
    """Refuses weights whose network scales its input otherwise than the published ones do.

    Ours always scales as these.
    """
    published = applications.IMAGENET_DEVIATION
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            mean, variance, *_ = (np.reshape(weight, -1) for weight in layer.get_weights())
            # The published files hold deviations where Keras expects variances, and Keras corrects
            # that in a layer of its own.
            known = any(
                np.allclose(variance, deviation, atol=1e-3)
                for deviation in (published, np.square(published))
            )
            if not (known and np.allclose(mean, applications.IMAGENET_MEAN, atol=1e-3)):
                raise InputError(
                    f"{name}: its first layers do not scale images by mean and deviation of "
                    "ILSVRC2012, as they must"
                )

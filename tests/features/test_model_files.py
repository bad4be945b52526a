"""Networks of others, by path or name; what cannot be opened is refused in one line."""

import keras
import numpy as np
import pytest

from ccssl_tf.features.model_files import open_model
from ccssl_tf.models import AlexNet, Application
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.runs.errors import CorruptArtifactError, FlagError, InputError
from ccssl_tf.runs.files import file_sha256

RED = np.full([2, 16, 16, 3], (1, 0, 0), np.float32)


def opened(model, **options):
    return open_model(str(model), **dict(dict(output=None, weights=None, trust=False), **options))


def refused(message, model, error=InputError, **options):
    with pytest.raises(error, match=message) as raised:
        opened(model, **options)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


def two_headed(channels=3, size=16):
    images = keras.Input([size, size, channels], name="pixels")
    maps = keras.layers.Conv2D(4, 3, name="maps")(images)
    return keras.Model(
        images, dict(maps=maps, mean=keras.layers.GlobalAveragePooling2D(name="averaged")(maps))
    )


def test_keras_files_give_outputs_and_layers(tmp_path):
    model = two_headed()
    model.save(tmp_path / "a.keras")
    expected = model(RED)
    for output, name in (("mean", "mean"), ("maps", "maps"), ("averaged", "mean")):
        found = opened(tmp_path / "a.keras", output=output)
        np.testing.assert_array_equal(found.call(RED), expected[name])
    assert (found.kind, found.image_size, found.normalize) == ("keras", 16, None)
    assert found.digest == file_sha256(tmp_path / "a.keras") and found.files == dict(
        model=str(tmp_path / "a.keras")
    )
    refused("a.keras: has several outputs; choose one: --output=ma?e?.*, m", tmp_path / "a.keras")
    refused(
        "--output=conv9: this network has ma.*, and the layers pixels, maps, averaged",
        tmp_path / "a.keras",
        output="conv9",
    )


def test_a_sequential_model_is_a_network_too(tmp_path):
    model = keras.Sequential(
        [keras.Input([16, 16, 3]), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()]
    )
    model.save(tmp_path / "a.keras")
    np.testing.assert_array_equal(opened(tmp_path / "a.keras").call(RED), model(RED))
    np.testing.assert_array_equal(
        opened(tmp_path / "a.keras", output=model.layers[0].name).call(RED), model.layers[0](RED)
    )


def test_our_own_files_bring_their_preprocessing(tmp_path):
    backbone = AlexNet(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())
    backbone.save(tmp_path / "backbone.keras")
    build_classifier(backbone, 3, 16).save(tmp_path / "classifier.keras")
    pixels = np.random.default_rng(0).integers(0, 256, [1, 16, 16, 3]).astype(np.uint8)
    for name, output in (("backbone", "conv4"), ("classifier", "logits")):
        found = opened(tmp_path / f"{name}.keras", output=output)
        np.testing.assert_array_equal(found.normalize(pixels), backbone.normalize(pixels))


def test_a_program_in_a_keras_file_runs_for_those_who_trust_it(tmp_path):
    images = keras.Input([16, 16, 3])
    keras.Model(images, keras.layers.Lambda(lambda x: 2 * x, name="double")(images)).save(
        tmp_path / "a.keras"
    )
    refused("a.keras: holds a Lambda, which is a program.*--trust_model", tmp_path / "a.keras")
    np.testing.assert_array_equal(opened(tmp_path / "a.keras", trust=True).call(RED), 2 * RED)


def test_models_of_other_inputs_are_refused(tmp_path):
    two_headed(channels=1).save(tmp_path / "grey.keras")
    refused(
        r"grey.keras: takes \[None, 16, 16, 1\] \(1 channels\); square RGB images",
        tmp_path / "grey.keras",
        output="mean",
    )
    vector = keras.Input([5])
    keras.Model(vector, keras.layers.Dense(2)(vector)).save(tmp_path / "vector.keras")
    refused(r"vector.keras: takes \[None, 5\]; square RGB", tmp_path / "vector.keras")
    both = [keras.Input([8, 8, 3]), keras.Input([8, 8, 3])]
    keras.Model(both, keras.layers.Add()(both)).save(tmp_path / "two.keras")
    refused("two.keras: a Functional, of which no layers can be read", tmp_path / "two.keras")


def test_what_is_no_model_is_refused_with_advice(tmp_path):
    refused(
        "Resnet50: no such file or directory, nor a network of keras.applications, such as "
        ".*ResNet50",
        "Resnet50",
    )
    (tmp_path / "net.pt").write_bytes(b"nothing")
    refused(
        "net.pt: neither a .keras file nor a SavedModel directory; .*--features_file",
        tmp_path / "net.pt",
    )
    (tmp_path / "net.keras").write_bytes(b"nothing")
    refused("net.keras: cannot be loaded", tmp_path / "net.keras", CorruptArtifactError)
    (tmp_path / "run").mkdir()
    refused("run: holds no saved_model.pb$", tmp_path / "run")
    (tmp_path / "run" / "backbone.keras").write_bytes(b"nothing")
    refused(
        "run: holds no saved_model.pb; a run of ours is given as --init_backbone", tmp_path / "run"
    )
    (tmp_path / "run" / "saved_model.pb").write_bytes(b"nothing")
    refused("run: cannot be loaded", tmp_path / "run", CorruptArtifactError, trust=True)


def test_networks_of_keras_applications(tmp_path):
    refused(
        "--model=MobileNetV2: say which weights: --weights=FILE.h5, imagenet .* or random",
        "MobileNetV2",
    )
    refused(
        "none.h5: no such file",
        "MobileNetV2",
        weights=str(tmp_path / "none.h5"),
        width_multiplier=0.1,
    )
    keras.utils.set_random_seed(1)
    found = opened("MobileNetV2", weights="random", width_multiplier=0.1)
    keras.utils.set_random_seed(1)
    network = Application(network="MobileNetV2", width_multiplier=0.1)
    pixels = np.random.default_rng(0).integers(0, 256, [2, 32, 32, 3]).astype(np.uint8)
    np.testing.assert_allclose(
        found.call(found.normalize(pixels)),
        network(network.normalize(pixels))["conv5"],
        rtol=1e-5,
        atol=1e-6,
    )
    assert (found.output, found.image_size, found.usual_size, found.files) == (
        "conv5",
        None,
        224,
        {},
    )
    layer = opened("MobileNetV2", weights="random", width_multiplier=0.1, output="block_5_add")
    assert layer.call(layer.normalize(pixels)).shape == (2, 4, 4, 8)
    refused(
        "--output=top: this network has conv1, .*, and the layers images, .* more .*",
        "MobileNetV2",
        weights="random",
        output="top",
    )


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        (dict(weights="random"), "weights=random"),
        (dict(width_multiplier=0.5), "width_multiplier=0.5"),
    ],
)
def test_what_a_file_brings_cannot_be_chosen(tmp_path, options, flag):
    two_headed().save(tmp_path / "a.keras")
    save_path = tmp_path / "saved"
    two_headed().export(save_path, verbose=False)
    for model in (tmp_path / "a.keras", save_path):
        refused(f"^--{flag}: --model={model} brings its own; leave it", model, FlagError, **options)
    # What a run recorded, whose width nobody chose.
    assert opened(tmp_path / "a.keras", output="mean", width_multiplier=1.0).output == "mean"
    if "width_multiplier" in options:
        refused(
            f"^--{flag}: --model=keras_hub:a brings its own", "keras_hub:a", FlagError, **options
        )

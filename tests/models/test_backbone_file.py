"""A backbone travels as a file and comes back equal; other files are refused.

Its fingerprint tells weights apart.
"""

import io
import json
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest

from ccssl_tf.models import VGG16, AlexNet, load_backbone, save_backbone
from ccssl_tf.models.backbone import copy_convolutions
from ccssl_tf.models.backbone_file import backbone_fingerprint, describe
from ccssl_tf.runs.errors import CorruptArtifactError, InputError

SMALL = dict(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=())


def images(size=32):
    return (np.random.default_rng(0).normal(size=[2, size, size, 3]) * 60).astype("float32")


def with_statistics(backbone):
    """Gives batch normalisation other statistics than its start, so that losing them would show."""
    random = np.random.default_rng(5)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(
                [random.uniform(0.5, 2, weight.shape) for weight in layer.get_weights()]
            )
    return backbone


NETWORKS = {
    "alexnet": lambda: AlexNet(width_multiplier=0.1, fc_units=(16, 8), image_size=67, order="bvlc"),
    "alexnet without fc": lambda: AlexNet(
        width_multiplier=0.1, fc_units=(), conv1_stride=2, normalization="none"
    ),
    "small alexnet": lambda: with_statistics(AlexNet(**SMALL)),
    "vgg16": lambda: VGG16(width_multiplier=0.1, fc_units=(), normalization="batch_norm"),
    "vgg16 with fc": lambda: VGG16(width_multiplier=0.1, fc_units=(16, 8), image_size=32),
}


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_round_trip(tmp_path, build):
    backbone = build()
    fingerprint = save_backbone(backbone, tmp_path)
    assert fingerprint == backbone_fingerprint(backbone)
    for path in (tmp_path, tmp_path / "backbone.keras", str(tmp_path)):
        loaded = load_backbone(path)
        assert type(loaded) is type(backbone)
        assert backbone_fingerprint(loaded) == fingerprint
        assert loaded.get_config() == backbone.get_config()
        assert loaded.endpoint_names == backbone.endpoint_names
        assert loaded.architecture() == backbone.architecture()
    x = images(backbone.input_shape[1] or 67)
    expected, found = backbone(x), loaded(x)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_what_is_said_beside_the_file(tmp_path):
    backbone = AlexNet(**SMALL)
    fingerprint = save_backbone(backbone, tmp_path)
    told = json.loads((tmp_path / "backbone.json").read_text())
    del told["checksum"]
    assert told == describe(tmp_path) == describe(tmp_path / "backbone.keras")
    assert told["fingerprint"] == fingerprint
    assert told["endpoints"] == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    convention = dict(channels="RGB", range=[0, 255], mean=[123, 117, 104], scale=1.0)
    assert told["input"] | convention == told["input"]
    assert told["architecture"]["kernels"]["conv2"] == [5, 5, 4, 24, 2]
    assert describe(tmp_path / "none" / "backbone.keras") == {}
    (tmp_path / "backbone.json").write_text("{")
    with pytest.raises(CorruptArtifactError, match="backbone.json: damaged"):
        load_backbone(tmp_path)


@pytest.mark.parametrize("build", [AlexNet, VGG16])
def test_a_mean_of_its_own_travels_with_the_backbone(tmp_path, build):
    backbone = build(width_multiplier=0.1, fc_units=(), input_mean=(10, 20.5, 30))
    other = build(width_multiplier=0.1, fc_units=())
    save_backbone(backbone, tmp_path)
    assert json.loads((tmp_path / "backbone.json").read_text())["input"]["mean"] == [10, 20.5, 30]
    loaded = load_backbone(tmp_path)
    np.testing.assert_array_equal(
        loaded.normalize(np.full([1, 1, 1, 3], 40, "uint8")), [[[[30, 19.5, 10]]]]
    )
    with pytest.raises(InputError, match="another architecture: input_mean is None"):
        copy_convolutions(other, backbone, "runs/a")


def test_where_weights_are_from_is_told(tmp_path):
    backbone = AlexNet(**SMALL)
    (tmp_path / "a").mkdir()
    fingerprint = save_backbone(backbone, tmp_path / "a")
    assert json.loads((tmp_path / "a" / "backbone.json").read_text())["weights_from"] is None
    (tmp_path / "b").mkdir()
    save_backbone(load_backbone(tmp_path / "a"), tmp_path / "b")
    told = json.loads((tmp_path / "b" / "backbone.json").read_text())["weights_from"]
    assert told == dict(
        file=str(tmp_path / "a" / "backbone.keras"), fingerprint=fingerprint, weights_from=None
    )


def test_fingerprints_tell_every_weight_and_architecture_apart():
    keras.utils.set_random_seed(0)
    backbone = with_statistics(AlexNet(**SMALL))
    found = {backbone_fingerprint(backbone)}
    for weight in backbone.weights:
        before = keras.ops.convert_to_numpy(weight)
        after = before.copy()
        after.flat[-1] = np.nextafter(after.flat[-1], np.float32(np.inf))
        weight.assign(after)
        found.add(backbone_fingerprint(backbone))
        weight.assign(before)
    assert len(found) == 1 + len(backbone.weights)
    assert backbone_fingerprint(backbone) in found
    ordered = {
        order: AlexNet(width_multiplier=0.1, fc_units=(), normalization="none", order=order)
        for order in ("caffenet", "bvlc")
    }
    ordered["bvlc"].set_weights(ordered["caffenet"].get_weights())
    assert backbone_fingerprint(ordered["bvlc"]) != backbone_fingerprint(ordered["caffenet"])


def test_dropout_states_are_no_part_of_the_fingerprint():
    backbone = AlexNet(width_multiplier=0.1, fc_units=(16, 8), image_size=67)
    before = backbone_fingerprint(backbone)
    backbone(images(67), training=True)
    assert backbone_fingerprint(backbone) == before


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="backbone.keras: no such file"):
        load_backbone(tmp_path)
    with pytest.raises(InputError, match="none.keras: no such file"):
        load_backbone(tmp_path / "none.keras")
    (tmp_path / "weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match="weights.h5: not a .keras file"):
        load_backbone(tmp_path / "weights.h5")
    for content in (b"", b"junk" * 1000):
        (tmp_path / "junk.keras").write_bytes(content)
        with pytest.raises(CorruptArtifactError, match="junk.keras: cannot be loaded") as caught:
            load_backbone(tmp_path / "junk.keras")
        assert "\n" not in str(caught.value)


def test_another_model_and_a_program_are_refused(tmp_path):
    inputs = keras.Input([4])
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "plain.keras")
    with pytest.raises(InputError, match="plain.keras: holds a Functional, not a backbone"):
        load_backbone(tmp_path / "plain.keras")
    ran = []
    lambda_model = keras.Sequential(
        [keras.Input([4]), keras.layers.Lambda(lambda x: ran.append(1) or x)]
    )
    lambda_model.save(tmp_path / "program.keras")
    ran.clear()
    with pytest.raises(
        InputError, match="program.keras: holds a Lambda, which is a program"
    ) as caught:
        load_backbone(tmp_path / "program.keras")
    assert not ran and caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_classes_and_functions_of_others_are_refused(tmp_path):
    class Theirs(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    def their_activation(x):
        return x

    inputs = keras.Input([4])
    for layer, named in (
        (Theirs(), "a Theirs"),
        (keras.layers.Dense(2, activation=their_activation), "a function"),
    ):
        keras.Model(inputs, layer(inputs)).save(tmp_path / "theirs.keras")
        with pytest.raises(
            InputError, match=f"theirs.keras: holds {named}; only models of"
        ) as caught:
            load_backbone(tmp_path / "theirs.keras")
        assert "\n" not in str(caught.value)


def _repacked(path, **members):
    """Puts other members, of which one is named with _ for its dots, into a sound file, packed."""
    keras.Sequential([keras.Input([4]), keras.layers.Dense(2)]).save(path)
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    parts |= {name.replace("_", "."): change(parts) for name, change in members.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def test_layers_of_other_libraries_are_told(tmp_path):
    def wrapped(parts):
        config = json.loads(parts["config.json"])
        layer = config["config"]["layers"][1]
        layer.update(class_name="TorchModuleWrapper", registered_name=None)
        layer["config"].update(module="")
        return json.dumps(config).encode()

    path = _repacked(tmp_path / "torch.keras", config_json=wrapped)
    with pytest.raises(InputError, match="torch.keras: holds a layer of PyTorch, which is a prog"):
        load_backbone(path)


def test_files_that_unpack_to_far_more_are_refused_at_once(tmp_path):
    path = _repacked(tmp_path / "big.keras", model_weights_h5=lambda parts: bytes(65 << 20))
    with pytest.raises(CorruptArtifactError, match="big.keras: unpacks to 65 MiB from 0.3, more"):
        load_backbone(path)

    def claiming(parts):
        file = io.BytesIO()
        with h5py.File(file, "w") as content:
            content.create_dataset("x", (1 << 28,), "float32", chunks=True, compression="gzip")
        return file.getvalue()

    path = _repacked(tmp_path / "inner.keras", model_weights_h5=claiming)
    with pytest.raises(CorruptArtifactError, match="inner.keras: unpacks to 1,024 MiB from 0.0"):
        load_backbone(path)


def test_damaged_files_are_refused_in_one_line(tmp_path):
    """Bytes flipped or cut anywhere: either the file is refused or nothing that counts was hit."""
    backbone = AlexNet(**dict(SMALL, width_multiplier=0.05))
    fingerprint = save_backbone(backbone, tmp_path)
    path = tmp_path / "backbone.keras"
    content, random, refused = path.read_bytes(), np.random.default_rng(0), 0
    for trial in range(24):
        damaged = bytearray(content)
        if trial % 4 == 0:
            damaged = damaged[: random.integers(len(content))]
        else:
            damaged[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            assert backbone_fingerprint(load_backbone(path)) == fingerprint
        except CorruptArtifactError as error:
            assert "\n" not in str(error) and "backbone.keras" in str(error)
            refused += 1
    assert refused > 12


def test_a_file_without_its_parts_is_refused(tmp_path):
    AlexNet(**SMALL).save(tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    for missing in ("config.json", "model.weights.h5"):
        with zipfile.ZipFile(tmp_path / "part.keras", "w") as archive:
            for name, data in parts.items():
                if name != missing:
                    archive.writestr(name, data)
        with pytest.raises(CorruptArtifactError, match="part.keras"):
            load_backbone(tmp_path / "part.keras")


def test_weights_that_are_not_those_recorded_are_refused(tmp_path):
    save_backbone(AlexNet(**SMALL), tmp_path)
    AlexNet(**SMALL).save(tmp_path / "backbone.keras")
    with pytest.raises(CorruptArtifactError, match="backbone.keras: .*fingerprint"):
        load_backbone(tmp_path)


@pytest.mark.parametrize("colors", ["rgb", "lab_halves"])
def test_preprocessing_can_be_part_of_the_network(tmp_path, colors):
    backbone = with_statistics(AlexNet(**SMALL, colors=colors))
    save_backbone(backbone, tmp_path)
    network = load_backbone(tmp_path, include_preprocessing=True)
    photos = np.random.default_rng(0).integers(0, 256, [2, 40, 48, 3], np.uint8)
    expected = backbone(backbone.normalize(photos))
    for name, maps in network(photos).items():
        np.testing.assert_allclose(maps, expected[name], rtol=1e-4, atol=1e-4)


def test_photos_in_the_range_of_0_to_1_are_warned_of():
    backbone = AlexNet(**SMALL)
    photos = np.random.default_rng(0).random([1, 32, 32, 3])
    with pytest.warns(UserWarning, match="multiply them by 255"):
        backbone.normalize(photos)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone.normalize(255 * photos)
        backbone.normalize(np.zeros([1, 32, 32, 3], "uint8"))

import keras
import numpy as np
import pytest
from absl.testing import flagsaver

from ccssl_tf import extract
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.data import records
from ccssl_tf.features.endpoint import EndpointExtractor
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone_file import save_backbone
from ccssl_tf.runs import workdir
from ccssl_tf.runs.errors import FlagError, InputError

SIZE = 32


def tiny_backbone(**arguments):
    keras.utils.set_random_seed(3)
    return AlexNet(
        **dict(
            dict(stem="small", normalization="batch_norm", width_multiplier=0.1, fc_units=()),
            **arguments,
        )
    )


def command(**values):
    with flagsaver.flagsaver(
        **{name: str(value) if hasattr(value, "parts") else value for name, value in values.items()}
    ):
        extract.main()


def test_a_dry_run_counts_the_rows_of_an_array(tmp_path, image_dir):
    np.save(tmp_path / "few.npy", np.zeros([15, 2]))
    settings = dict(
        extractor="external", features_file=tmp_path / "few.npy", data_dir=image_dir, split="val"
    )
    with pytest.raises(InputError, match="15 rows for the 16 images of split val"):
        command(**settings, workdir=tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()


def test_the_command_uses_whole_image_stride_and_size(tmp_path, image_dir, capsys):
    tiles = tiny_backbone(stem="standard", normalization="lrn", conv1_stride=2, image_size=64)
    (tmp_path / "run").mkdir()
    save_backbone(tiles, tmp_path / "run")
    settings = dict(
        init_backbone=tmp_path / "run",
        data_dir=image_dir,
        split="val",
        image_size=131,
        endpoint="conv4",
        pool_grid=2,
    )
    command(**settings, workdir=tmp_path / "dry", dry_run=True)
    assert not (tmp_path / "dry").exists() and "16 images" in capsys.readouterr().out
    command(**settings, workdir=tmp_path / "out", feature_dtype="float32")
    with pytest.raises(InputError, match="--feature_dtype=float32, not --feature_dtype=float16"):
        command(**settings, workdir=tmp_path / "out", feature_dtype="float16", dry_run=True)
    manifest = manifest_lib.Manifest.read(tmp_path / "out", "features")
    (path,) = (tmp_path / "out").glob("*.tfrecord")
    blocks = [
        records.parse_features(block, manifest.info["dim"], "float32")
        for block in records.read_shard(path)
    ]
    index, rows = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    assert manifest.info["extractor"]["backbone"]["conv1_stride"] == 4
    assert (tmp_path / "out" / "DONE").is_file() and len(index) == 16
    assert workdir.input_fingerprint(tmp_path / "out") == manifest.fingerprint()
    whole = AlexNet(**{**tiles.get_config(), "conv1_stride": 4})
    whole.set_weights(tiles.get_weights())
    extractor = EndpointExtractor(
        whole, endpoint="conv4", pool_grid=2, pooling="max", image_size=131, batch_size=256
    )
    np.testing.assert_allclose(
        rows, next(iter(extractor.batches(image_dir, "val", [0])))[1], rtol=1e-4, atol=1e-5
    )
    capsys.readouterr()
    command(**settings, workdir=tmp_path / "out", feature_dtype="float32")
    assert "already complete" in capsys.readouterr().out


def test_a_random_backbone_depends_on_the_seed_alone(tmp_path, image_dir):
    settings = dict(data_dir=image_dir, split="val", image_size=SIZE, width_multiplier=0.1)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        command(**settings, seed=seed, workdir=tmp_path / name)
    prints = [
        manifest_lib.Manifest.read(tmp_path / name, "features").fingerprint("val") for name in "abc"
    ]
    assert prints[0] == prints[1] != prints[2]


def test_the_command_needs_images(tmp_path):
    with pytest.raises(FlagError, match="--data_dir"):
        command(workdir=tmp_path / "out")
    with pytest.raises(InputError, match="no such directory"):
        command(data_dir=tmp_path / "none", workdir=tmp_path / "out")

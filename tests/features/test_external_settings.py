import pytest

from ccssl_tf.features.external_settings import ExternalSettings
from ccssl_tf.runs.errors import FlagError


def test_either_rows_or_a_network():
    for values in (dict(), dict(features_file="a.npy", model="ResNet50")):
        with pytest.raises(
            FlagError,
            match="^--extractor=external needs either --features_file=FILE, .* or "
            "--model=PATH_OR_NAME",
        ):
            ExternalSettings(**values)
    assert ExternalSettings(features_file="a.npy").model is None


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("output", "maps", "--output=maps"),
        ("weights", "random", "--weights=random"),
        ("trust_model", True, "--trust_model"),
        ("pool_grid", 5, "--pool_grid=5"),
        ("pooling", "max", "--pooling=max"),
        ("image_size", 227, "--image_size=227"),
        ("batch_size", 256, "--batch_size=256"),
        ("width_multiplier", 1.0, "--width_multiplier=1.0"),
        ("input_range", (0, 1), "--input_range=0,1"),
    ],
)
def test_what_says_something_of_a_network_does_not_go_with_rows(name, value, line):
    with pytest.raises(FlagError, match=f"^{line}: is about --model"):
        ExternalSettings(features_file="a.npy", **{name: value})
    assert getattr(ExternalSettings(model="a", **{name: value}), name) == value


def test_bounds():
    for values, flag in (
        (dict(pool_grid=0), "--pool_grid=0"),
        (dict(pooling="sum"), "--pooling=sum"),
        (dict(image_size=4), "--image_size=4"),
        (dict(batch_size=0), "--batch_size=0"),
        (dict(width_multiplier=0.01), "--width_multiplier=0.01"),
    ):
        with pytest.raises(FlagError, match=f"^{flag}: must be "):
            ExternalSettings(model="ResNet50", **values)

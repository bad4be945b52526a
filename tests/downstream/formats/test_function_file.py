"""A file is compared with the network, output by output."""

import numpy as np
import pytest
from trained_runs import SIZE, make_run

from ccssl_tf.downstream.exported import Exported
from ccssl_tf.downstream.formats.function_file import FunctionFile, converting, random_images
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


class Moved(FunctionFile):
    """What the network gives, `logits` moved by a share of the largest."""

    name = "moved"
    file_name = "moved"

    def write(self, path):
        path.write_text("1e-5")

    def run(self, path, images):
        outputs = {name: np.array(value) for name, value in self.exported.outputs(images).items()}
        outputs["logits"][0, 0] += float(path.read_text()) * np.abs(outputs["logits"]).max()
        return outputs


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run"
    make_run(path, classes=3)
    return Moved(Exported(path))


def test_small_differences_are_told_and_larger_ones_refused(moved, tmp_path):
    moved.write(tmp_path / "file")
    told = moved.check(tmp_path / "file")
    assert told["tolerance"] == 1e-4
    assert told["largest_difference"] == pytest.approx(1e-5, rel=0.1)
    for share in ("2e-4", "nan"):
        (tmp_path / "file").write_text(share)
        with pytest.raises(CorruptArtifactError, match="--format=moved: the exported logits diff"):
            moved.check(tmp_path / "file")


def test_what_goes_in_and_comes_out(moved):
    told = moved.describe()
    assert told["input"] == dict(
        name="images", shape=[None, SIZE, SIZE, 3], dtype="float32", range=[0, 255], channels="RGB"
    )
    assert told["outputs"]["logits"] == [None, 3] and told["outputs"]["embedding"] == [None, 24]


def test_the_images_of_the_check_are_pixels(moved):
    images = random_images(moved.exported)
    assert images.shape == (2, SIZE, SIZE, 3) and images.dtype == np.float32
    assert 0 <= images.min() < 3 and 252 < images.max() <= 255
    np.testing.assert_array_equal(images, random_images(moved.exported))


def test_what_a_converter_cannot_take_is_one_line():
    with (
        pytest.raises(InputError, match=r"^--format=onnx: .* \(KeyError: 'Qr is not supported"),
        converting("onnx"),
    ):
        raise KeyError("Qr is not supported")
    with pytest.raises(OSError, match="disk full"), converting("onnx"):
        raise OSError("disk full")

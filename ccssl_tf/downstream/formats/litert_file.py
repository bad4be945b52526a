"""A LiteRT (TensorFlow Lite) file for phones and small boards: one image at a time."""

import contextlib
import pathlib
import tempfile
import warnings

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.downstream.formats.calibration import calibration_images
from ccssl_tf.downstream.formats.function_file import FunctionFile, converting
from ccssl_tf.runs.errors import CorruptArtifactError

_SIGNATURE = "serve"
# Quantised outputs this far from Keras's (the length of the difference as a share of that of the
# output, over all images) say nothing of the image any more.
_NONSENSE = 0.5


class LiteRTFile(FunctionFile):
    """One signature, `serve`, from `images` [1, S, S, 3] to the outputs by name.

    Images are float32. Of a quantised file they are uint8 and the weights and maps int8; outputs
    stay float32, and layers that have no whole-number form (local response normalisation) compute
    in float32.
    """

    name = "litert"
    file_name = "model.tflite"
    batch_size = 1

    def __init__(self, exported, quantization=None):
        """As any; the images of a quantisation are read at once."""
        super().__init__(exported, quantization)
        self._images = None
        if quantization:
            self._images = calibration_images(
                quantization.data_dir, exported.image_size, quantization.seed
            )

    def write(self, path):
        """See `FileFormat`."""
        side, exported = self.exported.image_size, self.exported
        images = tf.TensorSpec([1, side, side, 3], tf.float32, name="images")
        with tempfile.TemporaryDirectory(prefix=f"{path.name}-", dir=path.parent) as directory:
            archive = keras.export.ExportArchive()
            archive.track(exported.classifier or exported.backbone)
            function = tf.function(exported.outputs, autograph=False)
            archive.add_endpoint(_SIGNATURE, function, input_signature=[images])
            saved_model = str(pathlib.Path(directory) / "saved_model")
            archive.write_out(saved_model, verbose=False)
            converter = tf.lite.TFLiteConverter.from_saved_model(
                saved_model, signature_keys=[_SIGNATURE]
            )
            if self._images is not None:
                self._quantize(converter)
            with _quietly(), converting(self.name):
                path.write_bytes(converter.convert())

    def _quantize(self, converter):
        """Asks for whole numbers where there are kernels for them."""
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = self._calibration
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
        converter.inference_input_type = tf.uint8

    def _calibration(self):
        images = self._images.astype(np.float32)
        # Black and white are in them, so that a step of the input is a step of uint8.
        images[0, 0, 0], images[0, 0, 1] = 0, 255
        for image in images:
            yield dict(images=image[None])

    def run(self, path, images):
        """See `FunctionFile`."""
        with _quietly():
            interpreter = tf.lite.Interpreter(str(path))
        signature = interpreter.get_signature_runner(_SIGNATURE)
        given = signature.get_input_details()["images"]
        if given["dtype"] == np.uint8 and not (
            np.isclose(given["quantization"][0], 1) and given["quantization"][1] == 0
        ):
            raise CorruptArtifactError(
                f"--format=litert: the images' steps are {given['quantization']}, not those of "
                "uint8; export without --int8"
            )
        outputs = [signature(images=image[None].astype(given["dtype"])) for image in images]
        return {name: np.concatenate([one[name] for one in outputs]) for name in outputs[0]}

    def check(self, path):
        """As any; a quantised file on the images of its calibration, on which outputs must be like
        Keras's, not the same.
        """
        if self._images is None:
            return super().check(path)
        found, expected = self.run(path, self._images), self._expected()
        errors = {
            name: float(np.linalg.norm(found[name] - value) / max(np.linalg.norm(value), 1e-6))
            for name, value in expected.items()
            if value.dtype.kind == "f"
        }
        worst = max(errors, key=errors.__getitem__)
        if not errors[worst] <= _NONSENSE:
            raise CorruptArtifactError(
                f"--int8: the quantised {worst} differs from the network's by "
                f"{errors[worst]:.0%}; export without --int8"
            )
        told = dict(tolerance=_NONSENSE, largest_difference=errors[worst], relative_errors=errors)
        if "logits" in expected:
            agree = found["logits"].argmax(-1) == expected["logits"].argmax(-1)
            told["top_1_agreement"] = float(agree.mean())
        return dict(told, calibration_images=len(self._images))

    def _expected(self) -> dict:
        batches = [self.exported.outputs(image[None]) for image in self._images]
        return {name: np.concatenate([one[name] for one in batches]) for name in batches[0]}

    def describe(self):
        """See `FunctionFile`."""
        facts = super().describe()
        if self._images is None:
            return facts
        return dict(facts, input=dict(facts["input"], dtype="uint8"), quantization="int8")


@contextlib.contextmanager
def _quietly():
    """Passes over the warning that the interpreter will move to a package of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield

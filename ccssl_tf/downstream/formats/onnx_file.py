"""An ONNX graph, for images of the run's size in batches of any."""

import numpy as np
import tensorflow as tf

from ccssl_tf.downstream.formats.function_file import FunctionFile, converting
from ccssl_tf.runs.errors import InputError

# Of 2022; runtimes from 1.12 on read it.
_OPSET = 17


class OnnxFile(FunctionFile):
    """See `FunctionFile`; made by tf2onnx, checked with ONNX Runtime on the CPU."""

    name = "onnx"
    file_name = "model.onnx"

    def __init__(self, exported, quantization=None):
        """As any; both packages are looked for before anything is written."""
        super().__init__(exported, quantization)
        try:
            import onnxruntime
            import tf2onnx
        except ImportError as error:
            raise InputError(
                f"--format=onnx: needs {error.name}: pip install 'ccssl_tf[onnx]'"
            ) from error
        self._convert, self._session = tf2onnx.convert.from_function, onnxruntime.InferenceSession

    def write(self, path):
        """See `FunctionFile`."""
        side = self.exported.image_size
        images = tf.TensorSpec([None, side, side, 3], tf.float32, name="images")
        function = tf.function(self.exported.outputs, input_signature=[images], autograph=False)
        with converting(self.name):
            self._convert(function, [images], opset=_OPSET, output_path=str(path))

    def run(self, path, images: np.ndarray):
        """See `FunctionFile`."""
        session = self._session(str(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(images=images)), strict=True))

    def describe(self):
        """See `FunctionFile`."""
        return dict(super().describe(), opset=_OPSET)

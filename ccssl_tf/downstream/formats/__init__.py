"""The formats of an exported run: one module each, and `FORMATS`, their names."""

from ccssl_tf.downstream.formats.caffe_file import CaffeFile
from ccssl_tf.downstream.formats.file_format import FileFormat, Quantization
from ccssl_tf.downstream.formats.keras_file import KerasFile, WeightsFile
from ccssl_tf.downstream.formats.keras_hub_preset import KerasHubPreset
from ccssl_tf.downstream.formats.litert_file import LiteRTFile
from ccssl_tf.downstream.formats.onnx_file import OnnxFile
from ccssl_tf.downstream.formats.saved_model import SavedModel

FORMATS: dict[str, type[FileFormat]] = dict(
    saved_model=SavedModel,
    litert=LiteRTFile,
    onnx=OnnxFile,
    keras=KerasFile,
    weights=WeightsFile,
    keras_hub=KerasHubPreset,
    npz=CaffeFile,
)

__all__ = ["FORMATS", "FileFormat", "Quantization"]

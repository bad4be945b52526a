"""Exports a trained run for other programs: to serve, to put on phones, to read layers from, to
fine-tune.

    python -m ccssl_tf.export --run=runs/quickstart/cluster_classification --output_dir=DIR
    python -m ccssl_tf.export --run=RUN --output_dir=DIR --format=saved_model,litert,onnx,keras

Writes, by --format (recipes: ccssl_tf/downstream/formats/README.md):
  saved_model  saved_model/, which needs nothing but TensorFlow
  litert       model.tflite for phones and boards; --int8 --calibration_data_dir=IMAGES quantises it
  onnx         model.onnx (extra `onnx`)
  keras        model.keras of Keras's own layers; weights: model.weights.h5 of the same model
  keras_hub    preset/, a directory that KerasHub's ImageClassifier.from_preset opens
  npz          model.npz of Caffe's arrays, of alexnet and vgg16, for BGR images
and export.json: of each format file, digest, inputs, outputs and the largest difference from Keras
of what was written, run on random images; where one differs, none is left there.

All take RGB images in [0, 255] (but npz) and give every endpoint, `logits` of a classifier and
`embedding`, the mean over the last map. The SavedModel has signatures: `serve` (images of any size
where the network allows), `serve_jpeg` (JPEG bytes), `embedding` (any size, no logits) and for
classifiers `backbone` (any size, no logits); the others take images of the run's size. A segmenter
gives `logits` and, as a SavedModel, `classes` of every pixel, instead of layers. A detector is a
SavedModel only: it takes one photo and boxes [R, 4] in it (xmin, ymin, xmax, ymax, pixels from 0)
and gives `scores` [R, C] and `boxes` [R, C, 4] of every class, in pixels of the photo, before
suppression. Batch normalisation is merged into the kernels (--nofold_batch_norm keeps it, e.g. to
fine-tune with it).
"""

from ccssl_tf.runs import machine

machine.quiet_tensorflow()

from ccssl_tf.downstream.exporting import (
    ExportSettings,
    export_run,
    export_workdir,
    formats_of,
    load_run,
)
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch

COMMAND = Command("ccssl_tf.export", __doc__, (ExportSettings,))


def main(values):
    """Exports, or says what would be."""
    settings = values[ExportSettings]
    machine.print_devices()
    if not settings.dry_run:
        export_run(settings, values.arguments)
        return
    exported = load_run(settings.run, settings.fold_batch_norm)
    export_workdir(settings, values.arguments).check()
    formats_of(exported, settings)
    facts = exported.describe()
    print(
        f"would export {', '.join(facts['outputs'])} of {settings.run}, about "
        f"{4 * facts['num_parameters'] / 1e6:.0f} MB each, as {', '.join(settings.format)}, into "
        f"{settings.output_dir}"
    )


if __name__ == "__main__":
    launch(COMMAND, main)

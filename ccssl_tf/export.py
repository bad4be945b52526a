"""Exports a trained run as a SavedModel that needs nothing but TensorFlow: to serve, to read layers
from, to fine-tune.

    python -m ccssl_tf.export --run=runs/quickstart/cluster_classification --output_dir=DIR

Writes DIR/saved_model and DIR/export.json (signatures, shapes, input convention, provenance).
Signatures take RGB images in [0, 255]: `serve` (images of any size where the network allows),
`serve_jpeg` (JPEG bytes), and for classifiers `backbone` (any size, no logits). A segmenter gives
`logits` and `classes` of every pixel, instead of layers. A detector takes one photo and boxes [R,
4] in it (xmin, ymin, xmax, ymax, pixels from 0) and gives `scores` [R, C] and `boxes` [R, C, 4] of
every class, in pixels of the photo, before suppression. Batch normalisation is merged into the
kernels (--nofold_batch_norm keeps it, e.g. to fine-tune with it).
"""

from ccssl_tf.runs import machine

machine.quiet_tensorflow()

from ccssl_tf.downstream.exporting import ExportSettings, export, export_workdir, load_run
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch

COMMAND = Command("ccssl_tf.export", __doc__, (ExportSettings,))


def main(values):
    """Exports, or says what would be."""
    settings = values[ExportSettings]
    machine.print_devices()
    if settings.dry_run:
        facts = load_run(settings.run, settings.fold_batch_norm).describe()
        export_workdir(settings.run, settings.output_dir, settings.fold_batch_norm).check()
        megabytes = 4 * facts["num_parameters"] / 1e6
        print(
            f"would export {', '.join(facts['outputs'])} of {settings.run}, about {megabytes:.0f} "
            f"MB, into {settings.output_dir}"
        )
        return
    export(settings.run, settings.output_dir, settings.fold_batch_norm, arguments=values.arguments)


if __name__ == "__main__":
    launch(COMMAND, main)

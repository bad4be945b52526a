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

import json
import pathlib

from absl import flags

from ccssl_tf.runs import launch, machine

machine.quiet_tensorflow()

from ccssl_tf.downstream.exported import load_run
from ccssl_tf.models import backbone_file, fast_rcnn, fcn
from ccssl_tf.runs import workdir as workdir_lib
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.files import atomic_directory, write_json

RUN = flags.DEFINE_string(
    "run", None, "Finished workdir of ccssl_tf.train that holds a backbone.keras."
)
OUTPUT_DIR = workdir_lib.directory_flag(
    "output_dir", None, "Directory for saved_model/ and export.json."
)
FOLD = flags.DEFINE_bool(
    "fold_batch_norm",
    True,
    "Merge batch normalisation into the kernels: the same outputs in fewer operations.",
)


def export(run, output_dir, fold: bool = True):
    """Exports the finished run in directory `run` into `output_dir`, as `saved_model` and
    `export.json`.

    Args:
      run: workdir of a training.
      output_dir: directory of its own.
      fold: merge batch normalisation into the kernels.

    Raises:
      InputError: not a finished run with a backbone, or `output_dir` holds something else.
      CorruptArtifactError: damaged files, or the exported model does not reproduce the network.
    """
    exported = load_run(run, fold)
    with _workdir(run, output_dir) as workdir:
        if workdir.is_done:
            print(f"{workdir.path}: already complete")
            return
        with atomic_directory(workdir.path / "saved_model") as temporary:
            exported.save(temporary)
            exported.verify(temporary)
        facts = exported.describe()
        made_by = json.loads((pathlib.Path(run) / "run.json").read_text())
        provenance = dict(
            run=str(run),
            command=made_by["command"],
            inputs=made_by["inputs"],
            backbone=backbone_file.describe(run),
        )
        write_json(workdir.path / "export.json", dict(facts, provenance=provenance))
        workdir.finish(metrics=facts)
    print(
        f"saved  {workdir.path / 'saved_model'}  outputs {', '.join(facts['outputs'])}  images "
        f"{facts['input']['shape']}",
        flush=True,
    )


def _workdir(run, output_dir):
    # The directory answers with the fingerprint of its backbone, which stays the same where only
    # what is on top of it was trained.
    on_top = (
        pathlib.Path(run) / name
        for name in (backbone_file.CLASSIFIER_FILE_NAME, fcn.FILE_NAME, fast_rcnn.FILE_NAME)
    )
    return workdir_lib.Workdir(
        output_dir,
        inputs=dict(run=str(run)) | {path.stem: path for path in on_top if path.is_file()},
    )


def main():
    """Reads the flags and exports."""
    if not RUN.value or not OUTPUT_DIR.value:
        raise FlagError("set --run and --output_dir")
    if launch.DRY_RUN.value:
        facts = load_run(RUN.value, FOLD.value).describe()
        _workdir(RUN.value, OUTPUT_DIR.value).check()
        megabytes = 4 * facts["num_parameters"] / 1e6
        print(
            f"would export {', '.join(facts['outputs'])} of {RUN.value}, about {megabytes:.0f} MB, "
            f"into {OUTPUT_DIR.value}"
        )
        return
    export(RUN.value, OUTPUT_DIR.value, FOLD.value)


if __name__ == "__main__":
    launch.launch(main, __doc__)

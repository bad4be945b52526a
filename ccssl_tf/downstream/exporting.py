"""Writes what a run trained as a SavedModel."""

import dataclasses
import json
import pathlib

from ccssl_tf.downstream.exported import Exported, class_names_of
from ccssl_tf.downstream.exported_detector import ExportedDetector
from ccssl_tf.downstream.exported_segmenter import ExportedSegmenter
from ccssl_tf.models import backbone_file, fast_rcnn, fcn
from ccssl_tf.runs.files import atomic_directory, write_json
from ccssl_tf.runs.settings import CommandSettings, setting
from ccssl_tf.runs.values import Values
from ccssl_tf.runs.workdir import Workdir


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings(CommandSettings):
    """This command."""

    run: str = setting(help="Finished workdir of ccssl_tf.train that holds a backbone.keras.")
    output_dir: str = setting(help="Directory for saved_model/ and export.json.")
    fold_batch_norm: bool = setting(
        True,
        "Merge batch normalisation into the kernels: the same outputs in fewer operations.",
    )


def load_run(run, fold: bool = True) -> Exported:
    """Returns what the finished run in directory `run` trained; see `Exported`.

    Raises:
      InputError: not a finished run with a backbone.
    """
    for name, exported in (
        (fcn.FILE_NAME, ExportedSegmenter),
        (fast_rcnn.FILE_NAME, ExportedDetector),
    ):
        if (pathlib.Path(run) / name).is_file():
            return exported(run)
    return Exported(run, fold)


def export(run, output_dir, fold: bool = True, *, arguments=None):
    """Exports a finished run as a SavedModel and `export.json`.

    Args:
      run: workdir of a training.
      output_dir: directory of its own.
      fold: merge batch normalisation into the kernels.
      arguments: of the command line, where a command was given.

    Raises:
      InputError: not a finished run with a backbone, or `output_dir` holds something else.
      CorruptArtifactError: damaged files, or the exported model does not reproduce the network.

    >>> from ccssl_tf import export
    >>> export(teacher, workdir)
    saved ...
    """
    exported = load_run(run, fold)
    with export_workdir(run, output_dir, fold, arguments) as workdir:
        if workdir.is_done:
            print(f"{workdir.path}: already complete")
            return
        with atomic_directory(workdir.path / "saved_model") as temporary:
            exported.save(temporary)
            exported.verify(temporary)
        facts = exported.describe()
        if names := class_names_of(run):
            facts = dict(class_names=names) | facts
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


def export_workdir(run, output_dir, fold: bool, arguments=None) -> Workdir:
    """Returns the output directory of an export, tied to the run and everything it trained."""
    settings = ExportSettings(run=str(run), output_dir=str(output_dir), fold_batch_norm=fold)
    # The directory answers with the fingerprint of its backbone, which stays the same where only
    # what is on top of it was trained.
    names = (backbone_file.CLASSIFIER_FILE_NAME, fcn.FILE_NAME, fast_rcnn.FILE_NAME)
    on_top = (pathlib.Path(run) / name for name in names)
    inputs = dict(run=str(run)) | {path.stem: path for path in on_top if path.is_file()}
    values = Values("ccssl_tf.export", [settings], arguments)
    return Workdir(output_dir, inputs=inputs, settings=values)

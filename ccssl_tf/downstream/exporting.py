"""Writes what a run trained in the formats that others read."""

import contextlib
import dataclasses
import pathlib

from ccssl_tf.clustering.device.nearest import exact_float32
from ccssl_tf.downstream.exported import Exported
from ccssl_tf.downstream.exported_detector import ExportedDetector
from ccssl_tf.downstream.exported_segmenter import ExportedSegmenter
from ccssl_tf.downstream.finished_run import class_names_of
from ccssl_tf.downstream.formats import FORMATS, FileFormat, Quantization
from ccssl_tf.downstream.formats.calibration import NUM_IMAGES
from ccssl_tf.downstream.formats.file_format import digest
from ccssl_tf.models import backbone_file, fast_rcnn, fcn
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.fields import as_text
from ccssl_tf.runs.files import write_json
from ccssl_tf.runs.run_record import RUN_NAME, read_record
from ccssl_tf.runs.settings import CommandSettings, SeedSettings, setting
from ccssl_tf.runs.values import Values
from ccssl_tf.runs.workdir import Workdir

_FORMATS = tuple(FORMATS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings(CommandSettings, SeedSettings):
    """This command."""

    run: str = setting(help="Finished workdir of ccssl_tf.train that holds a backbone.keras.")
    output_dir: str = setting(help="Directory for what is exported and export.json.")
    fold_batch_norm: bool = setting(
        True,
        "Merge batch normalisation into the kernels: the same outputs in fewer operations.",
    )
    format: tuple[str, ...] = setting(
        ("saved_model",),
        "What is written, separated by commas: a SavedModel, model.tflite, model.onnx (extra "
        "`onnx`), model.keras, model.weights.h5, a KerasHub preset, or model.npz of Caffe's "
        "arrays.",
        choices=_FORMATS,
    )
    int8: bool = setting(
        False,
        "Of litert: weights and maps as whole numbers of 8 bits, images as uint8, with images of "
        "--calibration_data_dir.",
    )
    calibration_data_dir: str | None = setting(
        None,
        f"Of --int8: image shards, of which {NUM_IMAGES} chosen by --seed say how large the "
        "numbers of each layer are.",
    )

    def check(self):
        """At least one format, each once; --int8 is of litert and needs images."""
        super().check()
        if not self.format or len(set(self.format)) < len(self.format):
            raise FlagError(
                f"--format={as_text(self.format)}: expected some of {as_text(_FORMATS)}, each once"
            )
        if self.int8 and "litert" not in self.format:
            raise FlagError(f"--int8: is of --format=litert, not of {as_text(self.format)}")
        if self.int8 != bool(self.calibration_data_dir):
            raise FlagError("--int8 and --calibration_data_dir go together: give both or neither")

    def quantization(self) -> Quantization | None:
        """Returns what --int8 asks for, None where it is not given."""
        if not self.calibration_data_dir:
            return None
        return Quantization(self.calibration_data_dir, self.seed)


@exact_float32()
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


def export(run, output_dir, fold: bool = True, **options):
    """Exports a finished run: a SavedModel or other formats, and `export.json`.

    Args:
      run: workdir of a training.
      output_dir: directory of its own.
      fold: merge batch normalisation into the kernels.
      **options: further fields of `ExportSettings`, e.g. format=("keras", "onnx").

    Raises:
      InputError: not a finished run with a backbone, one that a format cannot hold, or `output_dir`
        holds something else.
      CorruptArtifactError: damaged files, or an exported model does not reproduce the network.

    >>> from ccssl_tf import export
    >>> export(teacher, workdir)
    saved ...
    """
    folded = dict(fold_batch_norm=fold)
    export_run(ExportSettings(run=str(run), output_dir=str(output_dir), **folded, **options))


@exact_float32()
def export_run(settings: ExportSettings, arguments=None):
    """As `export`, of settings and the arguments of a command line, where one was given.

    GPUs keep all digits meanwhile: what other programs compute on CPUs is compared with them.
    """
    exported = load_run(settings.run, settings.fold_batch_norm)
    workdir, told = export_workdir(settings, arguments), {}
    # Refused before there is a directory.
    files = [] if workdir.is_done else formats_of(exported, settings)
    with workdir:
        if workdir.is_done:
            print(f"{workdir.path}: already complete")
            return
        with contextlib.ExitStack() as published:
            # All of them are there, or none.
            for file in files:
                temporary = published.enter_context(file.published(workdir.path / file.file_name))
                file.write(temporary)
                told[file.name] = dict(
                    file.describe(),
                    file=file.file_name,
                    check=file.check(temporary),
                    sha256=digest(temporary),
                )
        facts = exported.describe()
        names = class_names_of(settings.run)
        if names and facts["outputs"].get("logits", [0])[-1] == len(names):
            facts["class_names"] = names
        made_by = read_record(pathlib.Path(settings.run) / RUN_NAME)
        provenance = dict(
            run=settings.run,
            command=made_by["command"],
            inputs=made_by["inputs"],
            backbone=backbone_file.describe(settings.run),
        )
        write_json(workdir.path / "export.json", dict(facts, formats=told, provenance=provenance))
        workdir.finish(metrics=facts)
    for file in files:
        difference = told[file.name]["check"]["largest_difference"]
        print(
            f"saved  {workdir.path / file.file_name}  largest difference from Keras "
            f"{difference:.2g}",
            flush=True,
        )
    print(
        f"       outputs {', '.join(facts['outputs'])}  images {facts['input']['shape']}",
        flush=True,
    )


def formats_of(exported: Exported, settings: ExportSettings) -> list[FileFormat]:
    """Returns the formats that are asked for, ready to be written.

    Raises:
      InputError: one cannot hold what the run trained, or needs what is not installed.
    """
    for name in settings.format:
        if name not in exported.formats:
            raise InputError(
                f"--format={name}: {exported.what} is exported as {', '.join(exported.formats)}"
            )
    quantization = settings.quantization()
    return [FORMATS[name](exported, quantization) for name in settings.format]


def export_workdir(settings: ExportSettings, arguments=None) -> Workdir:
    """Returns the output directory of an export, tied to the run and everything it trained."""
    # The directory answers with the fingerprint of its backbone, which stays the same where only
    # what is on top of it was trained.
    names = (backbone_file.CLASSIFIER_FILE_NAME, fcn.FILE_NAME, fast_rcnn.FILE_NAME)
    on_top = (pathlib.Path(settings.run) / name for name in names)
    inputs: dict[str, str | pathlib.Path | None] = dict(
        run=settings.run, calibration_data_dir=settings.calibration_data_dir
    )
    inputs |= {path.stem: path for path in on_top if path.is_file()}
    values = Values("ccssl_tf.export", [settings], arguments)
    return Workdir(settings.output_dir, inputs=inputs, settings=values)

r"""Labels new photos with what a run has learned: a classifier, a detector, or clusters.

  python -m ccssl_tf.predict --run=DIR --source=PHOTOS --workdir=DIR [--top=5] \
      [--cluster_names=FILE]

Writes predictions.csv: a row an answer, beginning with the photo's file name (as images.csv writes
it). Of a classifier rank, label, class and probability; of a detector class, score and box (pixels
from 1); of clusters the cluster, its name, the distance to its centroid and how much further the
second nearest is. Photos that cannot be read are listed in bad_images.txt.

Photos are read as data_prep.image_folder reads them, so that the run sees them as it saw those it
learned from; their records, features and proposals are removed at the end (--keep_records keeps
them). Killed, the same command goes on.
"""

import csv
import dataclasses
import pathlib
import shutil
import subprocess
import sys

from ccssl_tf.runs import machine

machine.quiet_tensorflow()

from ccssl_tf.data import image_list
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.downstream import predictors
from ccssl_tf.runs import signals
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import InputError, Interrupted
from ccssl_tf.runs.files import atomic_file
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.progress import Progress
from ccssl_tf.runs.settings import CommandSettings, WorkdirSettings, setting
from ccssl_tf.runs.workdir import Workdir

NAME = "predictions.csv"
_MANY = 10**9


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictSettings(CommandSettings, WorkdirSettings):
    """This command."""

    run: str = setting(
        help="Finished workdir of ccssl_tf.train (a classifier or detector) or ccssl_tf.cluster."
    )
    source: str = setting(help="Folder or uncompressed tar of photos, searched to any depth.")
    top: int = setting(
        1, "Answers of a photo at the most: classes, or detections.", minimum=1, maximum=100_000
    )
    cluster_names: str | None = setting(
        None, "csv of `cluster,name` that names clusters, or the classes that were learned of them."
    )
    proposals: str | None = setting(
        None,
        "For detectors: file of boxes, as data_prep.proposals takes it; default: selective search "
        "(extra `detection`).",
    )
    keep_records: bool = setting(False, "Keep the records, features and proposals of the photos.")


COMMAND = Command("ccssl_tf.predict", __doc__, (PredictSettings,))


def main(values):
    """Runs the command."""
    settings = values[PredictSettings]
    directory = settings.required_workdir()
    machine.print_devices()
    source = pathlib.Path(settings.source)
    if not source.exists():
        raise InputError(f"--source={source}: no such file or directory")
    names = _read_names(settings.cluster_names)
    predictor = predictors.predictor_of(settings.run, names)
    if settings.proposals and not predictor.needs_proposals:
        raise InputError("--proposals: is for detectors; leave it out")
    extract = predictors.extraction_flags(settings.run) if predictor.needs_features else []
    inputs = dict(
        run=settings.run,
        source=source,
        cluster_names=settings.cluster_names,
        proposals=settings.proposals,
    )
    workdir = Workdir(directory, inputs=inputs, settings=values)
    if settings.dry_run:
        workdir.check()
        print(f"would write {', '.join(('filename', *predictor.columns))} into {directory}/{NAME}")
        return
    with workdir:
        if workdir.is_done:
            print(f"{workdir.path}: already complete")
            return
        with signals.stop_on_signal() as should_stop:
            images, more = _prepare(workdir.path, settings, predictor, extract)
            count, answers = _write(workdir.path, settings, predictor, images, more, should_stop)
        bad = images / "bad_images.txt"
        if bad.is_file():
            shutil.copyfile(bad, workdir.path / bad.name)
        if not settings.keep_records:
            for path in (images, *([more] if more else [])):
                shutil.rmtree(path)
        workdir.finish(metrics=dict(images=count, answers=answers))
    print(f"{workdir.path / NAME}: {answers} answers for {count} photos", flush=True)


def _read_names(path):
    """Cluster -> name."""
    if path is None:
        return {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--cluster_names={path}: cannot be read ({error})") from error
    if rows and not rows[0][0].strip().isdecimal():
        rows = rows[1:]  # The header.
    names = {}
    for line, row in enumerate(rows, 1):
        if len(row) != 2 or not row[0].strip().isdecimal():
            raise InputError(
                f"--cluster_names={path}: row {line}: {','.join(row)[:60]!r}, expected "
                "`cluster,name`"
            )
        if int(row[0]) in names:
            raise InputError(f"--cluster_names={path}: cluster {int(row[0])} comes twice")
        names[int(row[0])] = row[1].strip()
    return names


def _prepare(directory, settings, predictor, extract):
    """Converts the photos, and makes what the predictor needs of them: (records, that)."""
    images, more = directory / "photos", None
    _run(
        "data_prep.image_folder",
        f"--source={settings.source}",
        f"--output_dir={images}",
        "--val_fraction=0",
        "--labels=none",
        "--split_folders=no",
        f"--max_bad_images={_MANY}",
    )
    if predictor.needs_features:
        more = directory / "features"
        _run(
            "ccssl_tf.extract",
            *extract,
            f"--data_dir={images}",
            "--split=train",
            f"--workdir={more}",
        )
    elif predictor.needs_proposals:
        more = directory / "proposals"
        boxes = (
            ["--method=precomputed", f"--source={settings.proposals}"] if settings.proposals else []
        )
        _run("data_prep.proposals", f"--data_dir={images}", f"--output_dir={more}", *boxes)
    return images, more


def _run(module, *arguments):
    """Runs another command of ours, and ends like it where it fails; it has said why."""
    code = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
    if code == Interrupted.exit_code or code < 0:
        raise Interrupted("interrupted; the same command continues")
    if code:
        sys.exit(code)


def _write(directory, settings, predictor, images, more, should_stop):
    """Writes predictions.csv; returns the numbers of photos and of answers."""
    count, answers = Manifest.read(images, "images").num_examples("train"), 0
    names = image_list.filenames(images, "train", count)
    progress, last, done = Progress("predicting", count, "photos"), None, 0
    with (
        atomic_file(directory / NAME) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["filename", *predictor.columns])
        for index, answer in predictor.rows(images, more, settings.top):
            if should_stop():
                raise Interrupted("interrupted; the same command continues")
            if index != last:
                done, last = done + 1, index
                progress.update(min(done, count - 1))
            writer.writerow([image_list.text_of(names[index]), *answer])
            answers += 1
        progress.update(count)
    return count, answers


if __name__ == "__main__":
    launch(COMMAND, main)

"""The images that runs read: what they are called, and how many they are."""

import os
import pathlib
from collections.abc import Mapping

from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.reporting.run import Run
from ccssl_tf.reporting.runs import RunSet, printable
from ccssl_tf.runs.errors import CcsslError
from ccssl_tf.runs.json_files import read_json


def data_set_name(runs: RunSet, record: Mapping[str, str]) -> str:
    """Returns what the manifest of images says their source is, else their directory's name.

    Args:
      runs: among which they may have been made, if they are no longer at their place.
      record: {"path", "fingerprint"} of a run's input.
    """
    directory = next(
        (run.path for run in runs.runs if run.fingerprint == record["fingerprint"]),
        pathlib.Path(record["path"]),
    )
    try:
        form = dict(fingerprint=str, info=dict(source=str))
        manifest = read_json(directory / manifest_lib.MANIFEST_NAME, form, remedy="")
        if manifest["fingerprint"] == record["fingerprint"]:
            return manifest["info"]["source"]
    except (OSError, CcsslError):
        # The manifest is gone or of another kind; the report does not fail for a name.
        pass
    return printable(os.path.basename(record["path"]))


def image_counts(runs: RunSet, run: Run) -> dict[str, int]:
    """Returns split -> number of the images that a run read, {} where they are gone."""
    record = run.inputs.get("data_dir", {})
    try:
        source = runs.source(run, "data_dir")
        directory = source.path if source else record["path"]
        manifest = manifest_lib.Manifest.read(directory, "images", check_shards=False)
        return {split: manifest.num_examples(split) for split in manifest.splits}
    except (CcsslError, OSError, LookupError, TypeError, AttributeError):
        return {}


def held_out_count(runs: RunSet, run: Run) -> int | None:
    """Returns the number of images the accuracies of a run are of, None where nobody knows."""
    if not any(name.startswith("accuracy") for name in run.metrics.get("evaluation", {})):
        return None
    splits = run.metrics.get("facts", {}).get("splits", {})
    return image_counts(runs, run).get(splits.get("evaluation", "val")) or None

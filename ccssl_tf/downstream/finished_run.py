"""What a finished run says of itself."""

import contextlib
import pathlib

from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import CcsslError, InputError
from ccssl_tf.runs.json_files import read_json
from ccssl_tf.runs.run_record import read_flags, read_record


def finished(run) -> pathlib.Path:
    """Returns the directory of a run; raises InputError where it has not ended."""
    run = pathlib.Path(run)
    if not (run / "DONE").is_file():
        raise InputError(
            f"--run={run}: no finished run there; name the --workdir of a ccssl_tf.train that has "
            "ended"
        )
    return run


def class_names_of(run) -> list[str]:
    """Returns the names of the classes that a run learned, [] where nothing says them.

    They are in its metrics.json, or are those of the images whose labels it saw.
    """
    run = pathlib.Path(run)
    form = dict(facts=dict(class_names=[str]))
    with contextlib.suppress(CcsslError, OSError):
        metrics = read_json(run / "metrics.json", form, remedy="train it again")
        return metrics["facts"]["class_names"]
    if read_flags(run).get("task") != "cluster_classification":
        with contextlib.suppress(CcsslError, OSError, LookupError):
            data_dir = read_record(run / "run.json")["inputs"]["data_dir"]["path"]
            return list(Manifest.read(data_dir, "images").info.get("class_names") or [])
    return []

"""Reads a whole directory that a command wrote and names every file that is not what was written;
of shards (images, features, pseudo-labels or proposals) the record.

python -m data_prep.verify --data_dir=DIR

Exit code 0: everything is as it was written. 3: it is not; up to 20 faults are listed. Files that
have no digest, as in directories of version 0.1, are named. Nothing is written.
"""

import dataclasses
import pathlib

from ccssl_tf.runs import signals
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import CorruptArtifactError, Interrupted
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import CommandSettings, setting
from ccssl_tf.runs.values import Values
from data_prep.worker_pool import WorkersSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifySettings(CommandSettings, WorkersSettings):
    """What to check."""

    data_dir: str = setting(
        help="Directory with a manifest.json, as every converter, extract and cluster write, or of "
        "another run that has finished."
    )


COMMAND = Command("data_prep.verify", __doc__, (VerifySettings,))


def main(values: Values):
    """Runs the command."""
    from data_prep import record_checks, verification

    settings = values[VerifySettings]
    directory = pathlib.Path(settings.data_dir)
    print(
        f"{directory}: to check "
        f"{verification.describe(directory, verification.read_manifest(directory))}",
        flush=True,
    )
    if settings.dry_run:
        print("dry run: nothing read but the manifest")
        return
    with signals.stop_on_signal() as stopped:
        try:
            result = verification.verify(
                directory, num_workers=settings.num_processes, stopped=stopped
            )
        except Interrupted as error:
            raise Interrupted(
                f"{directory}: not checked to the end; the same command starts again"
            ) from error
    if names := result.not_judged:
        more = len(names) - record_checks.LISTED
        print(
            f"without a digest, so not checked: {', '.join(names[: record_checks.LISTED])}"
            + (f" and {more} more" if more > 0 else "")
        )
    for fault in result.faults[: record_checks.LISTED]:
        print(fault)
    if result.num_faults:
        more = result.num_faults - min(record_checks.LISTED, len(result.faults))
        rest = f", {more} not listed" if more else ""
        raise CorruptArtifactError(
            f"{directory}: {result.num_faults} faults{rest}; write the directory again"
        )
    print(f"{directory}: whole: {result.summary}")


if __name__ == "__main__":
    launch(COMMAND, main)

"""Reads a whole directory of shards (images, features, pseudo-labels or proposals) and names the
shard and record of every fault.

python -m data_prep.verify --data_dir=DIR

Exit code 0: everything is as it was written. 3: it is not; up to 20 faults are listed. Nothing is
written.
"""

import pathlib

from ccssl_tf.runs import launch, signals
from ccssl_tf.runs.errors import CorruptArtifactError, FlagError, Interrupted
from ccssl_tf.runs.workdir import directory_flag
from data_prep import verification, worker_pool
from data_prep.record_checks import LISTED

DATA_DIR = directory_flag(
    "data_dir",
    None,
    "Directory with a manifest.json, as every converter, extract and cluster write.",
)


def main():
    """Runs the command."""
    if not DATA_DIR.value:
        raise FlagError("--data_dir is required: the directory to check")
    directory = pathlib.Path(DATA_DIR.value)
    print(
        f"{directory}: to check {verification.describe(verification.read_manifest(directory))}",
        flush=True,
    )
    if launch.DRY_RUN.value:
        print("dry run: nothing read but the manifest")
        return
    with signals.stop_on_signal() as stopped:
        try:
            result = verification.verify(
                directory, num_workers=worker_pool.num_workers(), stopped=stopped
            )
        except Interrupted as error:
            raise Interrupted(
                f"{directory}: not checked to the end; the same command starts again"
            ) from error
    for fault in result.faults[:LISTED]:
        print(fault)
    if result.num_faults:
        more = result.num_faults - min(LISTED, len(result.faults))
        rest = f", {more} not listed" if more else ""
        raise CorruptArtifactError(
            f"{directory}: {result.num_faults} faults{rest}; write the directory again"
        )
    print(f"{directory}: whole: {result.summary}")


if __name__ == "__main__":
    launch.launch(main, __doc__)

"""The conversion of shards as an Apache Beam pipeline, for more than one machine; what a shard is
made of is `shard_worker`'s alone.
"""

import importlib.util
import logging
import threading
from collections.abc import Sequence

from ccssl_tf.runs.errors import CcsslError, FlagError, ResourceError
from data_prep import shard_worker, worker_process
from data_prep.shard_worker import ShardRecord, ShardTask

# Some runners give a process several threads, but what libjpeg says belongs to a process (see
# `jpeg.check`).
_one_at_a_time = threading.Lock()


def require_beam():
    """Raises FlagError where Apache Beam is not installed."""
    if importlib.util.find_spec("apache_beam") is None:
        raise FlagError(
            "--runner=beam needs Apache Beam, which is not installed: pip install "
            "'ccssl_tf[beam]', or leave the flag out"
        )


def convert_shards(tasks: list[ShardTask], beam_options: Sequence[str]) -> list[ShardRecord]:
    """Runs the pipeline, one element per shard, to its end; returns the shards' records.

    Args:
      tasks: the shards; every worker must see the source and the output under the same paths.
      beam_options: Beam's own options, as `name=value` or `--name=value`; none: the DirectRunner,
        one thread.

    Raises:
      CcsslError: the conversion's own, or ResourceError for what went wrong in Beam.
    """
    logging.disable(logging.CRITICAL)  # What matters comes as the exception.
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    arguments = ["--" + option.removeprefix("--") for option in beam_options]
    try:
        with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
            pipeline | "list shards" >> beam.Create(tasks) | "convert shard" >> beam.Map(_convert)
    except (CcsslError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # Beam leaves by the latter at a malformed option.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no details"]
        raise ResourceError(
            f"the Beam pipeline failed ({lines[-1]}); finished shards are kept and the same "
            "command continues"
        ) from None
    records = [ShardRecord.read(task.path) for task in tasks]
    for task, record in zip(tasks, records, strict=True):
        if record is None:
            raise ResourceError(
                f"{task.path}: Beam's workers wrote it elsewhere; name an --output_dir that all of "
                "them share"
            )
    return records


def _convert(task):
    with _one_at_a_time:
        worker_process.start_tensorflow()
        return shard_worker.convert_shard(task).shard.name

r"""(b) Turns the images of a split into feature rows for clustering.

  python -m ccssl_tf.extract --extractor=endpoint --init_backbone=DIR --data_dir=DIR \
      --split=train --workdir=DIR --endpoint=conv4

Writes one feature shard for each image shard; a killed run keeps the finished ones and writes the
same bytes.
"""

from absl import flags

from ccssl_tf.runs import launch, machine, signals

tf = machine.quiet_tensorflow()

from ccssl_tf import distribution, network_flags, registry, stage_flags
from ccssl_tf.data import records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.features import extract_features
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.workdir import Workdir

_EXTRACTOR = flags.DEFINE_string(
    "extractor", "endpoint", f"What makes the features: {', '.join(registry.EXTRACTORS)}."
)
_SPLIT = flags.DEFINE_string("split", "train", "Split of the images: train, val, test or trainval.")
_FEATURE_DTYPE = flags.DEFINE_enum(
    "feature_dtype", "float16", ["float16", "float32"], "Number format of the stored features."
)


def main():
    """Runs the stage."""
    if not stage_flags.DATA_DIR.value:
        raise FlagError("--data_dir: not given; name a directory written by a data_prep command")
    strategy = distribution.make_strategy(distribution.STRATEGY.value)
    machine.seed_everything(launch.SEED.value)
    images = Manifest.read(stage_flags.DATA_DIR.value, "images")
    rows = images.num_examples(_SPLIT.value)
    with strategy.scope():
        extractor = registry.lookup(registry.EXTRACTORS, _EXTRACTOR.value, "extractor").from_flags(
            registry.build_backbone
        )
    size = rows * extractor.dim * tf.as_dtype(_FEATURE_DTYPE.value).size
    print(
        f"extract  {rows} images, split {_SPLIT.value}, to rows of {extractor.dim} "
        f"{_FEATURE_DTYPE.value}: {size / 1e9:.3g} GB in "
        f"{len(images.shards(_SPLIT.value))} shards",
        flush=True,
    )
    if hasattr(extractor, "check"):
        extractor.check(stage_flags.DATA_DIR.value, _SPLIT.value)
    inputs = dict(
        data_dir=stage_flags.DATA_DIR.value,
        init_backbone=network_flags.init_backbone(),
        **extractor.inputs(),
    )
    workdir = Workdir(
        stage_flags.WORKDIR.value, inputs=inputs, writes=distribution.is_chief(strategy)
    )
    if launch.DRY_RUN.value:
        workdir.check()
        print(f"would write them into {workdir.path}")
        return
    with workdir:
        # Nobody may write before the chief has removed what a killed run left unfinished.
        distribution.wait_for_workers(strategy)
        if workdir.is_done:
            print(f"{workdir.path}: already complete")
            return
        with (
            signals.stop_on_signal() as should_stop,
            records.naming_damage(stage_flags.DATA_DIR.value),
        ):
            manifest = extract_features(
                extractor,
                stage_flags.DATA_DIR.value,
                _SPLIT.value,
                workdir.path,
                dtype=_FEATURE_DTYPE.value,
                should_stop=should_stop,
                strategy=strategy,
            )
        workdir.finish(
            metrics=dict(
                num_examples=rows,
                dim=extractor.dim,
                num_bytes=sum(s.num_bytes for s in manifest.shards(_SPLIT.value)),
            )
        )
        # A worker that left earlier would look like one that died.
        distribution.wait_for_workers(strategy)


if __name__ == "__main__":
    launch.launch(main, __doc__)

r"""(b) Turns the images of a split into feature rows for clustering.

    python -m ccssl_tf.extract --extractor=endpoint --init_backbone=DIR --data_dir=DIR \
        --split=train --workdir=DIR --endpoint=conv4

Writes one feature shard for each image shard; a killed run keeps the finished ones and writes the
same bytes.
"""

import dataclasses

from ccssl_tf.runs import machine, signals

tf = machine.quiet_tensorflow()

from ccssl_tf import distribution, registry
from ccssl_tf.data import records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.distribution import StrategySettings
from ccssl_tf.features import extract_features
from ccssl_tf.models import start
from ccssl_tf.models.start import NetworkSettings
from ccssl_tf.runs.command import Command, overview_of
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import CommandSettings, SeedSettings, WorkdirSettings, lookup, setting
from ccssl_tf.runs.workdir import Workdir
from ccssl_tf.training import LoopSettings, OptimizerSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractSettings(CommandSettings, WorkdirSettings, StrategySettings, SeedSettings):
    """This command."""

    extractor: str = setting("endpoint", "What makes the features; `--help` alone lists them.")
    split: str = setting("train", "Split of the images: train, val, test or trainval.")
    data_dir: str = setting(help="Directory of image shards written by a data_prep command.")
    feature_dtype: str = setting(
        "auto",
        "Number format of the stored features; auto: float16 where it keeps what tells them apart.",
        choices=["auto", "float16", "float32"],
    )


def chosen(selected):
    """Returns the settings classes of the extractor, and of its network if it needs one."""
    kind = _kind(selected["extractor"] or ExtractSettings.extractor)
    networks = start.settings_classes(registry.BACKBONES, selected) if kind.needs_backbone else []
    return [kind.Settings, *networks]


def _kind(name):
    return lookup(registry.EXTRACTORS, name, "extractor")


def owners():
    """Returns label -> settings classes of every extractor, network and task there is."""
    unnamed = dict(backbone=None, init_backbone=None)
    extractors = {
        f"--extractor={name}": chosen(dict(unnamed, extractor=name)) for name in registry.EXTRACTORS
    }
    networks = {f"--backbone={name}": [kind.Settings] for name, kind in registry.BACKBONES.items()}
    tasks = {
        f"ccssl_tf.train --task={name}": [kind.Settings] for name, kind in registry.TASKS.items()
    }
    return extractors | networks | tasks | {"ccssl_tf.train": [LoopSettings, OptimizerSettings]}


COMMAND = Command(
    "ccssl_tf.extract",
    __doc__,
    (ExtractSettings,),
    selectors=("extractor", "backbone", "init_backbone"),
    chosen=chosen,
    owners=owners,
    overview=lambda: overview_of("extractor", registry.EXTRACTORS, ExtractSettings.extractor),
)


def build_extractor(values):
    """Builds the extractor that the settings of the command name.

    Returns:
      The extractor, and the settings with what was left open as it is in it.
    """
    kind = _kind(values[ExtractSettings].extractor)
    settings = values[kind.Settings]
    if not kind.needs_backbone:
        extractor = kind(settings)
        return extractor, values.resolved(extractor.settings)
    network = start.Start.from_values(registry.BACKBONES, values, image_size=settings.image_size)
    backbone = network.build()
    extractor = kind(backbone, settings)
    return extractor, network.resolved(values, backbone).resolved(extractor.settings)


def main(values):
    """Writes the features into the work directory."""
    command = values[ExtractSettings]
    directory = command.required_workdir()
    machine.print_devices()
    strategy = distribution.make_strategy(command.strategy)
    machine.seed_everything(command.seed)
    images = Manifest.read(command.data_dir, "images")
    rows, shards = images.num_examples(command.split), images.shards(command.split)
    with strategy.scope():
        extractor, values = build_extractor(values)
    half = rows * extractor.dim * 2 / 1e9
    sizes = dict(
        float16=f"float16: {half:.3g} GB",
        float32=f"float32: {2 * half:.3g} GB",
        auto=f"float16: {half:.3g} GB (float32, where they need it: {2 * half:.3g})",
    )
    print(
        f"extract  {rows} images, split {command.split}, to rows of {extractor.dim} "
        f"{sizes[command.feature_dtype]} in {len(shards)} shards",
        flush=True,
    )
    extractor.check(command.data_dir, command.split)
    network = values[NetworkSettings].path if NetworkSettings in values else None
    inputs = dict(data_dir=command.data_dir, init_backbone=network, **extractor.inputs())
    chief = distribution.is_chief(strategy)
    workdir = Workdir(directory, inputs=inputs, settings=values, writes=chief)
    if command.dry_run:
        workdir.check()
        print(f"would write them into {workdir.path}")
        return
    with workdir:
        # Nobody may write before the chief has removed what a killed run left unfinished.
        distribution.wait_for_workers(strategy)
        if workdir.is_done:
            print(f"{workdir.path}: already complete")
            return
        with signals.stop_on_signal() as should_stop, records.naming_damage(command.data_dir):
            manifest = extract_features(
                extractor,
                command.data_dir,
                command.split,
                workdir.path,
                dtype=command.feature_dtype,
                should_stop=should_stop,
                strategy=strategy,
            )
        num_bytes = sum(shard.num_bytes for shard in manifest.shards(command.split))
        workdir.finish(
            metrics=dict(
                num_examples=rows,
                dim=extractor.dim,
                dtype=manifest.info["dtype"],
                num_bytes=num_bytes,
            )
        )
        # A worker that left earlier would look like one that died.
        distribution.wait_for_workers(strategy)


if __name__ == "__main__":
    launch(COMMAND, main)

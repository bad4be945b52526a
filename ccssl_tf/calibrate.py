r"""Measures the statistics of a network's batch normalisation anew, on whole images.

    python -m ccssl_tf.calibrate --init_backbone=DIR --data_dir=DIR --image_size=64 --workdir=DIR

A network trained on tiles reads whole images with the statistics of tiles; a random one has none.
Writes `backbone.keras`, which every other command takes as `--init_backbone`. It takes seconds; a
killed run starts again.
"""

import dataclasses

from ccssl_tf.runs import machine, signals

machine.quiet_tensorflow()

from ccssl_tf import registry
from ccssl_tf.data import image_ops, pipeline, records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.models import batch_statistics, start
from ccssl_tf.models.backbone_file import save_backbone
from ccssl_tf.models.start import NetworkSettings
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.progress import Progress
from ccssl_tf.runs.settings import CommandSettings, SeedSettings, WorkdirSettings, setting
from ccssl_tf.runs.workdir import Workdir


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrateSettings(CommandSettings, WorkdirSettings, SeedSettings):
    """This command."""

    data_dir: str = setting(help="Directory of image shards written by a data_prep command.")
    split: str = setting("train", "Split of the images.")
    image_size: int = setting(
        227, "Side of the square the network sees.", unit="pixels", minimum=1, maximum=4096
    )
    batch_size: int = setting(256, "Images that are normalised together.", minimum=2, maximum=2**16)
    num_images: int = setting(
        10_240,
        "Images measured, drawn by the seed; all where there are fewer.",
        minimum=2,
        maximum=10_000_000,
    )


def chosen(selected):
    """Returns the settings classes of the network."""
    return start.settings_classes(registry.BACKBONES, selected)


def owners():
    """Returns label -> settings classes of every network there is."""
    return {f"--backbone={name}": [kind.Settings] for name, kind in registry.BACKBONES.items()}


COMMAND = Command(
    "ccssl_tf.calibrate",
    __doc__,
    (CalibrateSettings,),
    selectors=("backbone", "init_backbone"),
    chosen=chosen,
    owners=owners,
)


def main(values):
    """Writes the calibrated network into the work directory."""
    command = values[CalibrateSettings]
    directory = command.required_workdir()
    machine.print_devices()
    machine.seed_everything(command.seed)
    total = Manifest.read(command.data_dir, "images").num_examples(command.split)
    batch_size = min(command.batch_size, total)
    num_batches = max(min(command.num_images, total) // batch_size, 1)
    network = start.Start.from_values(registry.BACKBONES, values, image_size=command.image_size)
    backbone = network.build()
    num_layers = len(batch_statistics.batch_normalizations(backbone))
    values = network.resolved(values, backbone)
    inputs = dict(data_dir=command.data_dir, init_backbone=values[NetworkSettings].path)
    print(
        f"calibrate  {num_layers} batch normalisations of {backbone.name} on "
        f"{num_batches * batch_size} images, split {command.split}",
        flush=True,
    )
    workdir = Workdir(directory, inputs=inputs, settings=values)
    if command.dry_run:
        workdir.check()
        print(f"would write it into {workdir.path}")
        return
    with workdir:
        if workdir.is_done:
            print(f"{workdir.path}: already complete")
            return
        with signals.interrupted_by_signal(), records.naming_damage(command.data_dir):
            batches = _batches(command, batch_size, num_batches)
            num_images = batch_statistics.calibrate_batch_normalization(backbone, batches)
        fingerprint = save_backbone(backbone, workdir.path)
        workdir.finish(
            metrics=dict(
                num_images=num_images,
                num_batch_normalizations=num_layers,
                backbone_fingerprint=fingerprint,
            )
        )


def _batches(command, batch_size, num_batches):
    """Yields [B, S, S, 3] uint8: whole images, drawn by the seed."""

    def load(parsed):
        return dict(image=image_ops.whole_image(parsed["encoded"], command.image_size))

    progress = Progress("calibrate", num_batches * batch_size, "images")
    epoch = Epoch(batch_size=batch_size, seed=command.seed, number=0, training=True)
    dataset = pipeline.training_batches(command.data_dir, command.split, epoch, load=load)
    for number, batch in enumerate(dataset.take(num_batches), start=1):
        yield batch["image"]
        progress.update(number * batch_size)


if __name__ == "__main__":
    launch(COMMAND, main)

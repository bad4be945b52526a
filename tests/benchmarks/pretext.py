r"""Measures what training costs: puzzles, the input pipeline, and networks beside PyTorch's.

    python -m tests.benchmarks.pretext --data_dir=RECORDS [--rounds=5] \
        [--parts=puzzles,pipeline,networks] [--torch_threads=0]

puzzles   making Jigsaw++ puzzles (tiles, occlusion, grey, normalisation) as a share of the training
          step they are part of.
pipeline  images/s of the task's training batches (shuffled shards, parsed, decoded, cropped) over
          those of decoding and cropping the same bytes alone.
networks  images/s of a training step (forward, backward, SGD with momentum) of AlexNet and VGG16
          with 1000 classes at full size, with and without XLA (--jit of ccssl_tf.train), over the
          same networks in PyTorch (left out where it is absent: pip install torch), and the share
          of this machine's float32 matrix peak. Batches lie in memory.

The sides take turns in one process; a line gives minimum / median / maximum over the rounds.
"""

import dataclasses
import functools
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from ccssl_tf.data import image_ops, records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.pretext.jigsaw_pp import JigsawPP
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import Settings, setting
from ccssl_tf.runs.values import Values
from ccssl_tf.training.optimizers import OptimizerSettings, make_optimizer
from ccssl_tf.training.step import step_function


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(Settings):
    """What is measured."""

    data_dir: str | None = setting(
        None,
        "Directory of image shards written by a data_prep command; only networks does without.",
    )
    rounds: int = setting(5, "Times everything is measured.", minimum=1)
    parts: tuple[str, ...] = setting(
        ("puzzles", "pipeline", "networks"),
        "What is measured.",
        choices=["puzzles", "pipeline", "networks"],
    )
    image_sizes: tuple[int, ...] = setting(
        (64, 255), "Sides of the images of puzzles and pipeline.", unit="pixels"
    )
    torch_threads: int = setting(0, "Threads of PyTorch; 0: its choice.", minimum=0)

    def check(self):
        """Puzzles and pipeline read images."""
        super().check()
        if self.data_dir is None and set(self.parts) != {"networks"}:
            raise FlagError(
                "--data_dir: not given; name the output of a data_prep command, or measure "
                "--parts=networks alone"
            )


COMMAND = Command("tests.benchmarks.pretext", __doc__, (BenchmarkSettings,))
# Multiply-accumulates of one forward pass are counted from the kernels; a training step is three of
# them (conv1 needs no input gradient).
NETWORKS = {"alexnet": (AlexNet, 227, 32), "vgg16": (VGG16, 224, 8)}
_SECONDS = 2.0
_LEARNING_RATE, _MOMENTUM = 0.001, 0.9


def seconds_per_call(function) -> float:
    """Returns the mean of calls for two seconds, at least two calls."""
    start, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - start < _SECONDS:
        function()
        calls += 1
    return (time.perf_counter() - start) / calls


def alternate(sides: dict, rounds: int) -> dict[str, list[float]]:
    """Returns the seconds per call of each side by round.

    The sides take turns, after a call each that is not counted.
    """
    for function in sides.values():
        function()
    seconds = {name: [] for name in sides}
    for number in range(rounds):
        names = list(sides)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seconds[name].append(seconds_per_call(sides[name]))
    return seconds


def spread(values, digits=2) -> str:
    """Returns "minimum / median / maximum"."""
    values = list(values)
    return " / ".join(
        f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )


def jigsaw_task(data_dir, image_size):
    """Returns Jigsaw++ as quickstart (small images) or the paper (large ones) has it."""
    small = image_size < 128
    return JigsawPP(
        data_dir=data_dir,
        image_size=image_size,
        num_permutations=701,
        permutations_per_image=8,
        gray_probability=0.7,
        tile_fc6_units=256 if small else 1024,
        puzzle_fc7_units=512 if small else 4096,
    )


def measure_puzzles(settings, image_size):
    """Prints the share of a Jigsaw++ step that goes into its puzzles."""
    task = jigsaw_task(settings.data_dir, image_size)
    batch_size = 64 if image_size < 128 else 16
    backbone = AlexNet(
        fc_units=(),
        **(
            dict(stem="small", normalization="batch_norm", width_multiplier=0.5)
            if image_size < 128
            else dict(conv1_stride=2)
        ),
    )
    model = task.build_model(backbone)
    batch = next(iter(task.dataset("train", Epoch(batch_size))))
    rules = OptimizerSettings(optimizer="adam", learning_rate=1e-3, weight_decay=0.0)
    optimizer = make_optimizer(rules)
    optimizer.build(model.trainable_variables)
    strategy = tf.distribute.get_strategy()
    step = step_function(task, model, optimizer, strategy, rules, batch_size=batch_size)
    puzzles = tf.function(lambda: tf.reduce_sum(task.puzzles(batch)[0]), autograph=False)
    sides = dict(puzzles=lambda: puzzles().numpy(), step=lambda: step(batch)["loss"].numpy())
    seconds = alternate(sides, settings.rounds)
    rates = [batch_size / value for value in seconds["step"]]
    shares = [100 * a / b for a, b in zip(seconds["puzzles"], seconds["step"], strict=True)]
    print(
        f"puzzles   {image_size} pixels: {spread(shares)} % of a step ({spread(rates, 0)} images/s "
        f"in batches of {batch_size})",
        flush=True,
    )


def measure_pipeline(settings, image_size):
    """Prints the rate of the training batches over that of decoding and cropping alone."""
    task, batch_size = jigsaw_task(settings.data_dir, image_size), 64
    sizes = task.geometry.crop, task.geometry.short_side
    manifest = Manifest.read(settings.data_dir, "images")
    files = [f"{settings.data_dir}/{shard.name}" for shard in manifest.shards("train")]
    batches = min(manifest.num_examples("train"), 16384 if image_size < 128 else 4096) // batch_size
    encoded = []
    for file in files:
        encoded += [records.parse_image(one)["encoded"] for one in tf.data.TFRecordDataset(file)]
        if len(encoded) >= batches * batch_size:
            break
    encoded = tf.data.Dataset.from_tensor_slices(encoded[: batches * batch_size])

    def crop(one):
        return image_ops.random_crop(one, *sizes, tf.constant([0, 1], tf.int64))

    alone = (
        encoded.map(crop, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    ours = task.dataset("train", Epoch(batch_size)).take(batches)

    def read(dataset):
        return sum(1 for _ in dataset)

    sides = dict(ours=functools.partial(read, ours), alone=functools.partial(read, alone))
    seconds = alternate(sides, settings.rounds)
    rates = {
        side: spread((batches * batch_size / value for value in values), 0)
        for side, values in seconds.items()
    }
    ratios = (b / a for a, b in zip(seconds["ours"], seconds["alone"], strict=True))
    print(
        f"pipeline  {image_size} pixels: {rates['ours']} images/s, alone {rates['alone']}; ratio "
        f"{spread(ratios)}",
        flush=True,
    )


def matrix_peak() -> float:
    """Returns float32 FLOP/s of a 2048 x 2048 product, the best of a second."""
    matrix = tf.random.normal([2048, 2048])
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(matrix, matrix)))
    best, end = 0.0, time.perf_counter() + 1
    product()
    while time.perf_counter() < end:
        start = time.perf_counter()
        product().numpy()
        best = max(best, 2 * 2048**3 / (time.perf_counter() - start))
    return best


def forward_flops(backbone, image_size) -> float:
    """Returns the floating-point operations of one image, with 1000 classes on top.

    A multiply-accumulate counts as two.
    """
    macs = 1000 * 4096
    for layer in backbone.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            macs += int(np.prod(kernel.shape)) * int(np.prod(layer.output.shape[1:-1] or (1,)))
    return 2 * macs


def ours_step(network, image_size, batch_size, jit):
    """Returns a call that takes one training step."""
    model = build_classifier(network(image_size=image_size), 1000, image_size)
    optimizer = keras.optimizers.SGD(_LEARNING_RATE, momentum=_MOMENTUM)
    optimizer.build(model.trainable_variables)
    variables = model.trainable_variables
    images = tf.random.normal([batch_size, image_size, image_size, 3])
    labels = tf.random.uniform([batch_size], maxval=1000, dtype=tf.int32)

    @tf.function(autograph=False, jit_compile=jit)
    def step():
        with tf.GradientTape() as tape:
            logits = model(images, training=True)["logits"]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return loss

    return lambda: step().numpy()


def torch_step(name, image_size, batch_size, threads):
    """Returns a call that takes the same step in PyTorch."""
    import torch
    from torch import nn

    if threads:
        torch.set_num_threads(threads)

    def conv(inputs, outputs, size, **options):
        return [nn.Conv2d(inputs, outputs, size, **options), nn.ReLU(inplace=True)]

    pool = functools.partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
    norm = functools.partial(nn.LocalResponseNorm, 5, 1e-4, 0.75, 1.0)
    if name == "alexnet":
        layers = [
            *conv(3, 96, 11, stride=4),
            pool(),
            norm(),
            *conv(96, 256, 5, padding=2, groups=2),
            pool(),
            norm(),
        ]
        layers += [
            *conv(256, 384, 3, padding=1),
            *conv(384, 384, 3, padding=1, groups=2),
            *conv(384, 256, 3, padding=1, groups=2),
            pool(),
        ]
        inputs = 6 * 6 * 256
    else:
        layers, channels = [], 3
        for depth, filters in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
            for _ in range(depth):
                layers += conv(channels, filters, 3, padding=1)
                channels = filters
            layers.append(nn.MaxPool2d(2, 2))
        inputs = 7 * 7 * 512
    layers.append(nn.Flatten())
    for _ in range(2):
        layers += [nn.Linear(inputs, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5)]
        inputs = 4096
    model = nn.Sequential(*layers, nn.Linear(4096, 1000)).to(memory_format=torch.channels_last)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), _LEARNING_RATE, momentum=_MOMENTUM)
    images = torch.randn(batch_size, 3, image_size, image_size).to(
        memory_format=torch.channels_last
    )
    labels = torch.randint(0, 1000, (batch_size,))

    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def measure_network(settings, name):
    """Prints images/s of the sides and their ratios."""
    network, image_size, batch_size = NETWORKS[name]
    sides = dict(
        plain=ours_step(network, image_size, batch_size, False),
        jit=ours_step(network, image_size, batch_size, True),
    )
    try:
        sides["torch"] = torch_step(name, image_size, batch_size, settings.torch_threads)
    except ModuleNotFoundError:
        print("networks  PyTorch is not installed: pip install torch")
    peak = matrix_peak()
    flops = 3 * forward_flops(network(image_size=image_size), image_size)
    seconds_of = alternate(sides, settings.rounds)
    for side, seconds in seconds_of.items():
        rates = [batch_size / value for value in seconds]
        share = 100 * flops * statistics.median(rates) / peak
        print(
            f"networks  {name} {side}: {spread(rates, 1)} images/s, {share:.0f} % of "
            f"{peak / 1e9:.0f} GFLOP/s",
            flush=True,
        )
        if side != "torch" and "torch" in seconds_of:
            print(
                f"networks  {name} {side} / torch: "
                f"{spread(b / a for a, b in zip(seconds, seconds_of['torch'], strict=True))}",
                flush=True,
            )


def main(values: Values):
    """Runs the comparisons."""
    settings = values[BenchmarkSettings]
    for part in settings.parts:
        if part == "networks":
            for name in NETWORKS:
                measure_network(settings, name)
        else:
            for image_size in settings.image_sizes:
                dict(puzzles=measure_puzzles, pipeline=measure_pipeline)[part](settings, image_size)


if __name__ == "__main__":
    launch(COMMAND, main)

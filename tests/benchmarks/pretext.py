r"""Measures what training costs: the puzzles within a step, the input pipeline, and the networks
beside the same in PyTorch.

python -m tests.benchmarks.pretext --data_dir=RECORDS [--rounds=5] \
    [--parts=puzzles,pipeline,networks] [--torch_threads=0]

puzzles   making Jigsaw++ puzzles (tiles, occlusion, grey, normalisation) as a share of the training
step they are part of. pipeline  images/s of the task's training batches (shuffled shards, parsed,
decoded, cropped) over those of decoding and cropping the
          same bytes alone.
networks  images/s of a training step (forward, backward, SGD with momentum) of AlexNet and VGG16
with 1000 classes at full size, with
          and without --jit, over the same networks in PyTorch (left out where it is absent: pip
          install torch), and the share of this machine's float32 matrix peak. Batches lie in
          memory.

The sides take turns in one process; a line gives minimum / median / maximum over the rounds.
"""

import functools
import statistics
import time

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from ccssl_tf import training
from ccssl_tf.data import image_ops, records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.models.vgg16 import VGG16
from ccssl_tf.pretext.jigsaw_pp import JigsawPP
from ccssl_tf.pretext.permutations import permutation_set
from ccssl_tf.runs import launch
from ccssl_tf.stage_flags import DATA_DIR

ROUNDS = flags.DEFINE_integer("rounds", 5, "Times everything is measured.", lower_bound=1)
PARTS = flags.DEFINE_list("parts", ["puzzles", "pipeline", "networks"], "What is measured.")
IMAGE_SIZES = flags.DEFINE_list(
    "image_sizes", ["64", "255"], "Pixels of the images of puzzles and pipeline."
)
TORCH_THREADS = flags.DEFINE_integer(
    "torch_threads", 0, "Threads of PyTorch; 0: its own choice.", lower_bound=0
)

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


def alternate(sides: dict) -> dict[str, list[float]]:
    """Returns the seconds per call of each side by round; the sides take turns, after a call each
    that is not counted.
    """
    for function in sides.values():
        function()
    found = {name: [] for name in sides}
    for number in range(ROUNDS.value):
        names = list(sides)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name].append(seconds_per_call(sides[name]))
    return found


def spread(values, digits=2) -> str:
    """Returns "minimum / median / maximum"."""
    values = list(values)
    return " / ".join(
        f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )


def jigsaw_task(image_size):
    """Jigsaw++ as quickstart (small images) or the paper (large ones) has it."""
    small = image_size < 128
    return JigsawPP(
        data_dir=DATA_DIR.value,
        image_size=image_size,
        permutations=permutation_set(701, None),
        permutations_per_image=8,
        gray_probability=0.7,
        tile_units=256 if small else 1024,
        head_units=512 if small else 4096,
    )


def measure_puzzles(image_size):
    """Prints the share of a Jigsaw++ step that goes into its puzzles."""
    task, batch_size = jigsaw_task(image_size), 64 if image_size < 128 else 16
    backbone = AlexNet(
        fc_units=(),
        **(
            dict(stem="small", normalization="batch_norm", width_multiplier=0.5)
            if image_size < 128
            else dict(conv1_stride=2)
        ),
    )
    model = task.build_model(backbone)
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    batch = next(iter(task.dataset("train", batch_size, True, (0, 0))))
    step = training._step_function(
        task, model, optimizer, tf.distribute.get_strategy(), batch_size, 1, False, weight_decay=0.0
    )
    puzzles = tf.function(lambda: tf.reduce_sum(task.puzzles(batch)[0]), autograph=False)
    found = alternate(
        dict(puzzles=lambda: puzzles().numpy(), step=lambda: step(batch)["loss"].numpy())
    )
    rates = [batch_size / seconds for seconds in found["step"]]
    shares = [100 * a / b for a, b in zip(found["puzzles"], found["step"], strict=True)]
    print(
        f"puzzles   {image_size} pixels: {spread(shares)} % of a step ({spread(rates, 0)} images/s "
        f"in batches of {batch_size})",
        flush=True,
    )


def measure_pipeline(image_size):
    """Prints the rate of the training batches over that of decoding and cropping alone."""
    task, batch_size = jigsaw_task(image_size), 64
    sizes = task.geometry.crop, task.geometry.short_side
    manifest = Manifest.read(DATA_DIR.value, "images")
    files = [f"{DATA_DIR.value}/{shard.name}" for shard in manifest.shards("train")]
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
    ours = task.dataset("train", batch_size, True, (0, 0)).take(batches)

    def read(dataset):
        return sum(1 for _ in dataset)

    found = alternate(
        dict(ours=functools.partial(read, ours), alone=functools.partial(read, alone))
    )
    rates = {
        side: spread((batches * batch_size / seconds for seconds in found[side]), 0)
        for side in found
    }
    ratios = (b / a for a, b in zip(found["ours"], found["alone"], strict=True))
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
    """Returns the floating-point operations of one image, two a multiply-accumulate, with 1000
    classes on top.
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


def torch_step(name, image_size, batch_size):
    """Returns a call that takes the same step in PyTorch."""
    import torch
    from torch import nn

    if TORCH_THREADS.value:
        torch.set_num_threads(TORCH_THREADS.value)

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


def measure_network(name):
    """Prints images/s of the sides and their ratios."""
    network, image_size, batch_size = NETWORKS[name]
    sides = dict(
        plain=ours_step(network, image_size, batch_size, False),
        jit=ours_step(network, image_size, batch_size, True),
    )
    try:
        sides["torch"] = torch_step(name, image_size, batch_size)
    except ModuleNotFoundError:
        print("networks  PyTorch is not installed: pip install torch")
    peak = matrix_peak()
    flops = 3 * forward_flops(network(image_size=image_size), image_size)
    found = alternate(sides)
    for side, seconds in found.items():
        rates = [batch_size / value for value in seconds]
        share = 100 * flops * statistics.median(rates) / peak
        print(
            f"networks  {name} {side}: {spread(rates, 1)} images/s, {share:.0f} % of "
            f"{peak / 1e9:.0f} GFLOP/s",
            flush=True,
        )
        if side != "torch" and "torch" in found:
            print(
                f"networks  {name} {side} / torch: "
                f"{spread(b / a for a, b in zip(seconds, found['torch'], strict=True))}",
                flush=True,
            )


def main():
    """Runs the comparisons."""
    for part in PARTS.value:
        if part == "networks":
            for name in NETWORKS:
                measure_network(name)
        else:
            for image_size in map(int, IMAGE_SIZES.value):
                dict(puzzles=measure_puzzles, pipeline=measure_pipeline)[part](image_size)


if __name__ == "__main__":
    launch.launch(main, __doc__)

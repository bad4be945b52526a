r"""Measures how fast images become records, beside decoding them only and beside
tensorflow-datasets building the same.

python -m tests.benchmarks.data_prep [--source=DIR|TAR] [--sizes=0,48] [--rounds=3] [--repeat=10]
python -m tests.benchmarks.data_prep --source=../shared/data/imagenet-photos --sizes=0,256
python -m tests.benchmarks.data_prep --parts=chroma \
    --sizes=64,128,256

Every run is a fresh process, the contenders take turns, and each converts the list of images once
and `--repeat` times over. The steady rate comes from the difference of the two, the start-up
(processes, TensorFlow, metadata) is what remains of the shorter one. Fewer than 250 images for each
process make too few shards to keep all of them busy in the shorter run, which blurs both.

ours         conversion.Conversion: checked, converted, written, digested, one process per core.
decode_jpeg  the same bytes read and given to tf.io.decode_jpeg, one process per core; nothing is
resized or written. tfds         a GeneratorBasedBuilder of the same files, as tensorflow-datasets'
own imagenet2012: bytes are copied unseen. Where images are
             resized, with Pillow, and given to it as arrays.
tfds_checked the same, but every image is decoded first (tf.io.decode_jpeg): the promise `ours`
makes, that all of them can be.

Chroma: what a colour for each pixel (4:4:4) costs and saves beside one for four (4:2:0), where
images are decoded and encoded again as the conversion does: bytes, and PSNR over R, G, B in dB.
"""

import contextlib
import dataclasses
import io
import math
import multiprocessing
import os
import pathlib
import statistics
import tempfile
import time

import numpy as np
from PIL import Image

from ccssl_tf.runs import machine
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import InputError, ResourceError
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import setting
from ccssl_tf.runs.values import Values
from data_prep import conversion, decoding, folder_layout, imagenet_layout, worker_pool
from data_prep.image_set import ImageSet
from data_prep.worker_pool import WorkersSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(WorkersSettings):
    """What is measured."""

    parts: tuple[str, ...] = setting(
        ("conversion",), "What is measured.", choices=["conversion", "chroma"]
    )
    source: str = setting(
        "../shared/data/imagenet64", "Folder or tar of images, or a folder of the ILSVRC2012 tars."
    )
    sizes: tuple[int, ...] = setting(
        (0, 48),
        "What the short side is reduced to, one comparison each; 0: as it is.",
        unit="pixels",
        minimum=0,
    )
    rounds: int = setting(3, "Times everything is measured.", minimum=1)
    repeat: int = setting(10, "Times the list of images is repeated in the longer runs.", minimum=2)
    num_images: int = setting(0, "Images of the source that are used; 0: all.", minimum=0)
    scratch_dir: str | None = setting(
        None, "Where the outputs are written and removed; default: the system's."
    )


COMMAND = Command("tests.benchmarks.data_prep", __doc__, (BenchmarkSettings,))
_SAMPLE_SECONDS = 0.1
_SLICES_PER_PROCESS = 8


def list_images(source, max_images: int) -> ImageSet:
    """Returns the first `max_images` (0: all) images of the source as one split."""
    source = pathlib.Path(source)
    if not source.exists():
        raise InputError(f"--source={source}: no such file or directory")
    tars = sorted(source.glob("*.tar")) if source.is_dir() else []
    if any(tar.name == "ILSVRC2012_img_train.tar" for tar in tars):
        found = imagenet_layout.list_images(source, "devkit")
    else:
        source = tars[0] if len(tars) == 1 else source
        found = folder_layout.list_images(
            source, labels="auto", val_fraction=0.0, classes=None, seed=0
        )
    items = [item for split in found.splits.values() for item in split]
    return dataclasses.replace(found, splits={"train": items[: max_images or None]})


def ours(image_set, directory, resize, num_workers):
    """Converts as the commands do."""
    conversion.Conversion(
        image_set,
        directory,
        decode_options=decoding.DecodeOptions(resize),
        max_bad_images=0,
        seed=0,
        num_workers=num_workers,
        options={},
    ).convert(lambda: False)


def decode_jpeg(image_set, directory, resize, num_workers):
    """Decodes only."""
    del directory, resize
    items, step = image_set.splits["train"], num_workers * _SLICES_PER_PROCESS
    counter = multiprocessing.get_context("spawn").Value("q", 0)
    with worker_pool.open_pool(num_workers, counter) as pool:
        slices = [
            pool.submit(_decode, image_set.read, [item.location for item in items[k::step]])
            for k in range(step)
        ]
        assert sum(worker_pool.completed(slices, lambda: False)) == len(items)


def _decode(read, locations):
    import tensorflow as tf

    for location in locations:
        tf.io.decode_jpeg(read(location), channels=3)
    return len(locations)


def tfds(image_set, directory, resize, num_workers):
    """Lets tensorflow-datasets build them; it has one process."""
    _build_with_tfds(image_set, directory, resize, check=lambda data: None)


def tfds_checked(image_set, directory, resize, num_workers):
    """The same, of images known to decode."""
    machine.quiet_tensorflow()
    import tensorflow as tf

    _build_with_tfds(
        image_set, directory, resize, check=lambda data: tf.io.decode_jpeg(data, channels=3)
    )


def _build_with_tfds(image_set, directory, resize, check):
    machine.quiet_tensorflow()
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()

    class Images(tfds.core.GeneratorBasedBuilder):
        """The files of `image_set`."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            label = (
                tfds.features.ClassLabel(names=image_set.class_names)
                if image_set.class_names
                else tfds.features.Scalar(np.int64)
            )
            features = {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": label,
                "file_name": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for key, item in enumerate(image_set.splits["train"]):
                data = image_set.read(item.location)
                check(data)
                image = _resized(data, resize) if resize else io.BytesIO(data)
                yield key, {"image": image, "label": item.label, "file_name": item.name}

    Images(data_dir=directory).download_and_prepare()


def _resized(data, short_side):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = short_side / min(image.size)
    if scale < 1:
        image = image.resize([round(scale * side) for side in image.size], Image.Resampling.BICUBIC)
    return np.asarray(image)


CONTENDERS = (ours, decode_jpeg, tfds, tfds_checked)


def _run_quietly(contender, source, max_images, times, resize, num_workers, directory):
    image_set = list_images(source, max_images)
    image_set.splits["train"] *= times
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        contender(image_set, pathlib.Path(directory), resize, num_workers)


def measure(contender, *arguments, scratch_dir: str | None) -> tuple[float, float]:
    """Runs a contender in a process of its own; returns its seconds and the most memory its
    processes held together, in MB.
    """
    with tempfile.TemporaryDirectory(dir=scratch_dir) as directory:
        process = multiprocessing.get_context("spawn").Process(
            target=_run_quietly, args=(contender, *arguments, directory)
        )
        start, peak = time.perf_counter(), 0
        process.start()
        while process.is_alive():
            peak = max(peak, _resident_bytes(process.pid))
            process.join(_SAMPLE_SECONDS)
        seconds = time.perf_counter() - start
    if process.exitcode:
        raise ResourceError(
            f"{contender.__name__} ended with code {process.exitcode}; what it said is above"
        )
    return seconds, peak / 1e6


def _resident_bytes(pid):
    """Of a process and all below it; what they share counts for each."""
    try:
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = [
            child
            for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children")
            for child in path.read_text().split()
        ]
    except OSError:  # It has gone meanwhile.
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(_resident_bytes, children))


@dataclasses.dataclass
class Measurement:
    """One contender in one round: steady images/s, start-up in seconds, images/s of the longer run
    as a whole, MB at 1x and repeated.
    """

    steady: float
    start_up: float
    whole: float
    memory: float
    memory_repeated: float

    @classmethod
    def of(
        cls, num_images: int, repeat: int, once: tuple[float, float], repeated: tuple[float, float]
    ) -> "Measurement":
        """Separates start-up and rate of two runs, each (seconds, MB), of `num_images` once and
        `repeat` times; else nan.
        """
        per_image = (repeated[0] - once[0]) / ((repeat - 1) * num_images)
        if per_image <= 0 or num_images * per_image > once[0]:
            per_image = math.nan  # A start-up that varies by more than the images take.
        return cls(
            1 / per_image,
            once[0] - num_images * per_image,
            repeat * num_images / repeated[0],
            once[1],
            repeated[1],
        )


def _spread(values, digits=0):
    values = list(values)
    return " / ".join(
        f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )


def _print_comparison(rounds, repeat):
    columns = (
        "steady images/s",
        "start-up s",
        f"whole {repeat}x run images/s",
        "peak MB 1x",
        f"peak MB {repeat}x",
    )
    print(f"  {'min / median / max':20}" + "".join(f"{column:>26}" for column in columns))
    for contender in CONTENDERS:
        found = [results[contender] for results in rounds]
        cells = [
            _spread((getattr(one, field.name) for one in found), int(field.name == "start_up"))
            for field in dataclasses.fields(Measurement)
        ]
        print(f"  {contender.__name__:20}" + "".join(f"{cell:>26}" for cell in cells))
    for other in CONTENDERS[1:]:
        for name in ("steady", "whole"):
            ratios = (
                getattr(results[ours], name) / getattr(results[other], name) for results in rounds
            )
            print(f"  ours / {other.__name__}, {name}: {_spread(ratios, 2)}")


def compare_chroma(image_set, short_side):
    """Prints bytes and PSNR of both ways to store colours, over images reduced to a short side."""
    bytes_over, gains, losses = [], [], []
    for item in image_set.splits["train"]:
        with Image.open(io.BytesIO(image_set.read(item.location))) as image:
            source = image.convert("RGB")
        if short_side:
            scale = min(1, short_side / min(source.size))
            size = [round(scale * side) for side in source.size]
            source = source.resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(source).astype(float)
        sizes, errors = [], []
        for chroma in ("444", "420"):
            options = decoding.DecodeOptions(chroma_subsampling=chroma)
            file = io.BytesIO()
            number = options.subsampling(source.height, source.width)
            source.save(file, "JPEG", quality=decoding.JPEG_QUALITY, subsampling=number)
            with Image.open(file) as stored:
                difference = np.asarray(stored.convert("RGB")) - pixels
            sizes.append(file.tell())
            errors.append(10 * math.log10(255**2 / max((difference**2).mean(), 1e-3)))
        bytes_over.append(sizes[0] / sizes[1])
        gains.append(errors[0] - errors[1])
        losses.append(errors)
    dearer, better = _spread(bytes_over, 3), _spread(gains, 2)
    reduced = f"reduced to {short_side} pixels" if short_side else "as they are"
    print(f"4:4:4 over 4:2:0, {len(gains)} images {reduced}: bytes {dearer}; PSNR {better} dB more")
    fine, coarse = np.median(losses, axis=0)
    print(f"PSNR in the median: 4:4:4 {fine:.1f} dB, 4:2:0 {coarse:.1f} dB")


def main(values: Values):
    """Runs the comparisons."""
    settings = values[BenchmarkSettings]
    if "chroma" in settings.parts:
        for short_side in settings.sizes:
            compare_chroma(list_images(settings.source, settings.num_images), short_side)
    if "conversion" in settings.parts:
        compare_conversion(settings)


def compare_conversion(settings):
    """Prints rates and memory of all contenders."""
    workers, repeat, source = settings.num_processes, settings.repeat, settings.source
    image_set = list_images(source, settings.num_images)
    items = image_set.splits["train"]
    size = sum(item.size for item in items) / 1e6
    print(
        f"{source}: {len(items)} images, {size:.1f} MB, {workers} processes, load "
        f"{os.getloadavg()[0]:.1f}, {settings.rounds} rounds"
    )
    for resize in settings.sizes:
        rounds = []
        for number in range(settings.rounds):
            shift = number % len(CONTENDERS)
            results = {}
            for contender in CONTENDERS[shift:] + CONTENDERS[:shift]:
                runs = [
                    measure(
                        contender,
                        source,
                        settings.num_images,
                        times,
                        resize,
                        workers,
                        scratch_dir=settings.scratch_dir,
                    )
                    for times in (1, repeat)
                ]
                results[contender] = Measurement.of(len(items), repeat, *runs)
            rounds.append(results)
        if any(math.isnan(result.steady) for results in rounds for result in results.values()):
            print(
                "nan: the machine is too busy, or the images too few, to tell rate and start-up "
                "apart; raise --repeat"
            )
        print(f"short side {f'reduced to {resize} pixels' if resize else 'as it is'}")
        _print_comparison(rounds, repeat)


if __name__ == "__main__":
    launch(COMMAND, main)

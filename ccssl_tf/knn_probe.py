r"""Evaluates features by the classes of nearest neighbours: nothing is trained.

    python -m ccssl_tf.knn_probe --features_dir=TRAIN --eval_features_dir=VAL --workdir=DIR

Both directories are workdirs of ccssl_tf.extract, of any network, of HOG or of features made
elsewhere, so that a teacher can be judged before its features are clustered. It is a command of its
own and no task of ccssl_tf.train, because it has no network, no steps and no checkpoints.
"""

import dataclasses
import pathlib

import numpy as np

from ccssl_tf.runs import machine, signals

machine.quiet_tensorflow()

from ccssl_tf.data import few_shots, image_facts, labels, outcomes
from ccssl_tf.data.feature_directory import DirectorySource
from ccssl_tf.metrics import nearest_neighbors
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.progress import Progress
from ccssl_tf.runs.settings import CommandSettings, SeedSettings, WorkdirSettings, setting
from ccssl_tf.runs.workdir import Workdir

# Rows searched at a time take at most about this much memory.
_BLOCK_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnnProbeSettings(CommandSettings, WorkdirSettings, SeedSettings):
    """This command."""

    features_dir: str = setting(help="Features of the training images: neighbours are sought here.")
    eval_features_dir: str = setting(help="Features of the images to classify, extracted alike.")
    data_dir: str | None = setting(
        None, "Directory of the images, where they have moved since their features were made."
    )
    num_neighbors: int = setting(
        20, "Neighbours that vote on an image.", minimum=1, maximum=100_000
    )
    metric: str = setting(
        "cosine", "Which rows are near each other.", choices=("cosine", "euclidean")
    )
    temperature: float = setting(
        0.07,
        "A vote weighs exp(cosine / temperature) (Wu et al. 2018); 0: all weigh the same. Only of "
        "cosines.",
        minimum=0,
    )
    shots: int = setting(
        0, "Training images of every class that are used, drawn by the seed; 0: all.", minimum=0
    )

    def check(self):
        """The weights of votes are of cosines."""
        super().check()
        if self.metric != "cosine" and self.temperature:
            raise FlagError(
                f"--metric={self.metric}: the votes' weights are of cosines; add --temperature=0"
            )


COMMAND = Command("ccssl_tf.knn_probe", __doc__, (KnnProbeSettings,))


class _Features:
    """The rows of a split and the classes of their images."""

    def __init__(self, path, data_dir):
        self.source = DirectorySource(path)
        info = self.source.manifest.info
        self.images = pathlib.Path(data_dir or info["data_dir"])
        self.class_names = labels.class_names(self.images, (self.source.split,))
        facts = image_facts.read_image_facts(
            self.images, self.source.split, info["images_fingerprint"]
        )
        self.index = self.source.indices()
        self.labels = facts.labels[self.index]

    def rows(self, count, prepared):
        """Yields the rows as prepared [n, D] float32, `count` at a time."""
        return (prepared(chunk) for chunk in self.source.chunks(count))


def _check_alike(train, held_out, paths):
    for fact in ("dim", "extractor", "backbone_fingerprint"):
        ours, theirs = (one.source.manifest.info.get(fact) for one in (train, held_out))
        if ours != theirs:
            raise InputError(
                f"--eval_features_dir={paths[1]}: {fact} is {theirs}, that of --features_dir is "
                f"{ours}; extract both alike"
            )
    if train.class_names != held_out.class_names:
        raise InputError(
            f"--eval_features_dir={paths[1]}: its images have other classes than those of "
            f"--features_dir={paths[0]}"
        )


def _drawn(train, settings) -> np.ndarray:
    """Returns [N] bool: which training images are used."""
    used = np.ones(len(train.labels), bool)
    total = len(train.class_names) * settings.shots if settings.shots else len(used)
    if total < settings.num_neighbors:
        raise InputError(
            f"--num_neighbors={settings.num_neighbors}: {settings.features_dir} has {total} rows "
            "to search; use fewer"
        )
    if not settings.shots:
        return used
    # By the images' numbers, so that features of other networks draw the same images.
    order = np.random.default_rng(settings.seed).permutation(int(train.index.max()) + 1)
    flag = f"--shots={settings.shots}"
    used[:] = False
    used[
        few_shots.of_every_class(
            train.labels, train.class_names, order[train.index], settings.shots, flag
        )
    ] = True
    return used


def _blocks(train, used, prepared, rows):
    """Yields the used training rows, [n, D] float32 at a time."""
    start = 0
    for chunk in train.rows(rows, prepared):
        part = used[start : start + len(chunk)]
        start += len(chunk)
        if part.any():
            yield chunk if part.all() else chunk[part]


def _evaluated(train, held_out, used, settings):
    """Returns accuracies, and which images are answered rightly, [N] bool by image number."""
    count = int(used.sum())
    cosine = settings.metric == "cosine"
    prepared = nearest_neighbors.normalized if cosine else lambda x: np.asarray(x, np.float32)
    queries = np.concatenate(list(held_out.rows(4096, prepared)))
    rows = max(_BLOCK_BYTES // (4 * train.source.dim), 1)
    progress = Progress("neighbours", count, "rows")
    positions, distances = nearest_neighbors.nearest_neighbors(
        queries,
        _blocks(train, used, prepared, rows),
        settings.num_neighbors,
        progress.update,
    )
    classes = train.labels[used][positions]
    num_classes = len(train.class_names)
    answers = nearest_neighbors.votes(classes, distances, num_classes, settings.temperature)
    right = answers == held_out.labels[:, None]
    accuracies = dict(accuracy=float(right[:, 0].mean()))
    if num_classes > 5:
        accuracies["top5"] = float(right[:, :5].any(1).mean())
    by_image = np.zeros(int(held_out.index.max()) + 1, bool)
    by_image[held_out.index] = right[:, 0]
    return accuracies, by_image


def main(values):
    """Writes accuracies and outcomes into the work directory."""
    settings = values[KnnProbeSettings]
    directory = settings.required_workdir()
    machine.print_devices()
    paths = settings.features_dir, settings.eval_features_dir
    train, held_out = (_Features(path, settings.data_dir) for path in paths)
    _check_alike(train, held_out, paths)
    used = _drawn(train, settings)
    inputs = dict(features_dir=paths[0], eval_features_dir=paths[1], data_dir=str(train.images))
    workdir = Workdir(directory, inputs=inputs, settings=values)
    print(
        f"knn_probe  {len(held_out.labels)} images, split {held_out.source.split}, among "
        f"{used.sum()}, split {train.source.split}; {train.source.dim} numbers an image",
        flush=True,
    )
    if settings.dry_run:
        workdir.check()
        print(f"would write the accuracy into {workdir.path}")
        return
    with workdir:
        if workdir.is_done:
            print(f"{workdir.path}: already complete")
            return
        with signals.interrupted_by_signal():
            accuracies, right = _evaluated(train, held_out, used, settings)
        outcomes.write_outcomes({"features": right}, workdir.path)
        weights = (
            f"weighted by exp(cosine / {settings.temperature:g})"
            if settings.temperature
            else "of the same weight"
        )
        shots = f"{settings.shots} a class of " if settings.shots else ""
        definition = (
            f"top-1 on the {held_out.source.split} split by the votes, {weights}, of the "
            f"{settings.num_neighbors} nearest of {shots}the {train.source.split} images, "
            f"{settings.metric} distance"
        )
        num_classes = len(train.class_names)
        workdir.finish(
            metrics=dict(
                evaluation=accuracies,
                facts=dict(
                    chance=1 / num_classes,
                    num_classes=num_classes,
                    num_examples=len(held_out.labels),
                    definition=definition,
                ),
            )
        )
    shown = "  ".join(f"{name} {value:.4f}" for name, value in accuracies.items())
    print(f"{shown}\ndefinition  {definition}\ndone  {workdir.path}", flush=True)


if __name__ == "__main__":
    launch(COMMAND, main)

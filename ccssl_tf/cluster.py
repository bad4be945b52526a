r"""(b, c) Clusters features by k-means and writes the pseudo-labels of one or more splits.

  python -m ccssl_tf.cluster --features_dir=DIR --num_clusters=2000 --workdir=DIR \
      [--assign_dir=DIR ...]

Writes centroids.npy (with --pca_dim, --whiten, --l2_normalize also preprocessing.npz), pseudo-label
records with their manifest, nearest.json and pictures/nearest_images.png (Figure 5). A killed run
continues at the pass it was in, to the same centroids.
"""

import pathlib

from absl import flags

from ccssl_tf.runs import launch, machine, signals

tf = machine.quiet_tensorflow()

import numpy as np

from ccssl_tf import distribution, stage_flags
from ccssl_tf.clustering import (
    KMeans,
    cluster_report,
    cost,
    machine_speed,
    preprocessing,
    pseudo_labels,
    sources,
)
from ccssl_tf.clustering.kmeans import ALGORITHMS, INITIALIZATIONS
from ccssl_tf.clustering.pass_log import print_pass, write_summaries
from ccssl_tf.data import image_facts
from ccssl_tf.data import manifest as manifest_lib
from ccssl_tf.runs.errors import FlagError, InputError
from ccssl_tf.runs.files import atomic_file, file_sha256, write_json
from ccssl_tf.runs.workdir import Workdir

_FEATURES_DIR = flags.DEFINE_string(
    "features_dir", None, "Feature directory to cluster: a workdir of ccssl_tf.extract."
)
_ASSIGN_DIR = flags.DEFINE_multi_string(
    "assign_dir",
    None,
    "Feature directory whose images get the pseudo-labels; repeat for more splits. Default: "
    "--features_dir.",
)
_NUM_CLUSTERS = flags.DEFINE_integer(
    "num_clusters", 2000, "Number of clusters K (2000 in the paper)."
)
_ALGORITHM = flags.DEFINE_enum(
    "algorithm",
    "lloyd",
    ALGORITHMS,
    "Exact Lloyd iterations, as in the paper, or mini-batches (Sculley 2010): nearly as good, "
    "sooner.",
)
_INITIALIZATION = flags.DEFINE_enum(
    "initialization",
    "k-means++",
    INITIALIZATIONS,
    "Start: greedy k-means++ on a sample, k-means|| on all rows, or random rows.",
)
_INITIAL_CENTROIDS = flags.DEFINE_string(
    "initial_centroids", None, "Centroids to start from instead: [K, D] saved by numpy.save (.npy)."
)
_RESTARTS = flags.DEFINE_integer(
    "restarts",
    1,
    "Fits from different starts; the one with the lowest inertia is kept.",
    lower_bound=1,
)
_MINIBATCH_SIZE = flags.DEFINE_integer("minibatch_size", 1024, "Rows a mini-batch.", lower_bound=1)
_MAX_NO_IMPROVEMENT = flags.DEFINE_integer(
    "max_no_improvement",
    10,
    "Stop after this many mini-batches in a row not lowering the smoothed inertia; 0: do not.",
    lower_bound=0,
)
_REASSIGNMENT_RATIO = flags.DEFINE_float(
    "reassignment_ratio",
    0.01,
    "Mini-batch: clusters with fewer rows than this share of the largest one's move to rows of "
    "others.",
    lower_bound=0,
    upper_bound=0.99,
)
_MAX_ITERATIONS = flags.DEFINE_integer(
    "max_iterations", 100, "Most updates of the centroids; mini-batch: passes.", lower_bound=1
)
_TOLERANCE = flags.DEFINE_float(
    "tolerance",
    1e-4,
    "Stop when a pass lowers the inertia by less than this share of it; 0: when no assignment "
    "changes.",
    lower_bound=0,
)
_PCA_DIM = flags.DEFINE_integer(
    "pca_dim",
    0,
    "First project the features on as many principal axes; 0, as in the paper: do not.",
    lower_bound=0,
)
_WHITEN = flags.DEFINE_bool(
    "whiten",
    False,
    "First whiten the features: variance 1 along the principal axes, of which --pca_dim are kept.",
)
_L2_NORMALIZE = flags.DEFINE_bool(
    "l2_normalize", False, "First divide every row by its length, after PCA and whitening."
)
_MEMORY_GB = flags.DEFINE_float(
    "memory_gb",
    4.0,
    "Features up to this size (GiB) are read once; larger ones on each pass, in windows of an "
    "eighth of it. Bounds take up to three "
    "eighths; centroids and sums come on top (--dry_run says how much in all).",
    lower_bound=0,
)


def main():
    """Runs the stage."""
    if not _FEATURES_DIR.value:
        raise FlagError("--features_dir: not given; name a workdir of ccssl_tf.extract")
    strategy = distribution.make_strategy(distribution.STRATEGY.value)
    fitted = sources.DirectorySource(_FEATURES_DIR.value)
    assigned = _assigned_sources(fitted)
    _check_num_clusters(fitted)
    options = preprocessing.Options(_PCA_DIM.value, _WHITEN.value, _L2_NORMALIZE.value)
    options.check(fitted.num_examples, fitted.dim)
    images = {split: _image_directory(source) for split, source in assigned.items()}
    inputs = {
        f"assign_dir[{number}]" if number else "assign_dir": path
        for number, path in enumerate(_ASSIGN_DIR.value or [])
    }
    inputs.update(features_dir=_FEATURES_DIR.value, data_dir=stage_flags.DATA_DIR.value)
    workdir = Workdir(
        stage_flags.WORKDIR.value, inputs=inputs, writes=distribution.is_chief(strategy)
    )
    if launch.DRY_RUN.value:
        workdir.check()
        _print_cost(fitted, assigned, options, strategy)
        print(f"would write the pseudo-labels of {', '.join(assigned)} into {workdir.path}")
        return
    with workdir:
        if workdir.is_done:
            print(f"{workdir.path}: already complete", flush=True)
            return
        if distribution.is_chief(strategy):
            _print_cost(fitted, assigned, options, strategy)
        with signals.stop_on_signal() as should_stop:
            _run(workdir, fitted, assigned, images, strategy, should_stop)
            # A worker that left earlier would look like one that died.
            distribution.wait_for_workers(strategy)


def _run(workdir, fitted, assigned, images, strategy, should_stop):
    chief = distribution.is_chief(strategy)
    checkpoint = workdir.path / "checkpoint.npz"
    kmeans = KMeans(
        _NUM_CLUSTERS.value,
        algorithm=_ALGORITHM.value,
        initialization=pathlib.Path(_INITIAL_CENTROIDS.value)
        if _INITIAL_CENTROIDS.value
        else _INITIALIZATION.value,
        restarts=_RESTARTS.value,
        minibatch_size=_MINIBATCH_SIZE.value,
        max_no_improvement=_MAX_NO_IMPROVEMENT.value,
        reassignment_ratio=_REASSIGNMENT_RATIO.value,
        max_iterations=_MAX_ITERATIONS.value,
        tolerance=_TOLERANCE.value,
        seed=launch.SEED.value,
        memory_gb=_MEMORY_GB.value,
        pca_dim=_PCA_DIM.value,
        whiten=_WHITEN.value,
        l2_normalize=_L2_NORMALIZE.value,
        strategy=strategy,
    )
    summaries = (
        tf.summary.create_file_writer(str(workdir.path / "tensorboard"))
        if chief
        else tf.summary.create_noop_writer()
    )

    def on_pass(values):
        print_pass(values)
        write_summaries(summaries, values)

    kmeans.fit(fitted, checkpoint_path=checkpoint, on_pass=on_pass, should_stop=should_stop)
    summaries.close()
    if chief:
        with atomic_file(workdir.path / "centroids.npy") as temporary:
            np.save(temporary, kmeans.centroids)
        if kmeans.preprocessing:
            kmeans.preprocessing.save(workdir.path / "preprocessing.npz")
    splits, metrics, nearest_tables, picture = {}, {}, {}, None
    for split, source in assigned.items():
        labels, distances = kmeans.assign(source, should_stop=should_stop)
        if not chief:
            continue
        index = source.indices()
        fingerprint = source.manifest.info["images_fingerprint"]
        facts = (
            image_facts.read_image_facts(images[split], split, fingerprint)
            if images[split]
            else None
        )
        filenames = [facts.filenames[place] for place in index] if facts else None
        splits[split] = pseudo_labels.PseudoLabels(fingerprint, index, labels, distances, filenames)
        agreement = cluster_report.label_metrics(labels, facts.labels[index]) if facts else {}
        metrics[split] = dict(agreement, num_examples=len(labels))
        nearest = cluster_report.nearest_members(labels, distances, kmeans.num_clusters)
        nearest_tables[split] = cluster_report.nearest_table(
            nearest, labels, distances, index, filenames
        )
        if facts and picture is None:
            picture = cluster_report.draw_nearest(
                cluster_report.pictured_clusters(nearest, distances), nearest, index, facts
            )
        shown = "".join(f"  {name} {value:.4f}" for name, value in agreement.items())
        print(f"pseudo-labels  {split}  {len(labels)} images{shown}", flush=True)
    if not chief:
        return
    write_json(workdir.path / "nearest.json", nearest_tables)
    if picture is not None:
        (workdir.path / "pictures").mkdir(exist_ok=True)
        with atomic_file(workdir.path / "pictures" / "nearest_images.png") as temporary:
            picture.save(temporary)
    pseudo_labels.write_pseudo_labels(
        workdir.path,
        splits,
        num_clusters=kmeans.num_clusters,
        info=dict(
            centroids_sha256=file_sha256(workdir.path / "centroids.npy"),
            preprocessing=kmeans.preprocessing and kmeans.preprocessing.fingerprint(),
            fitted_features_fingerprint=fitted.fingerprint(),
            features_fingerprint={
                split: source.fingerprint() for split, source in assigned.items()
            },
            extractor=fitted.manifest.info["extractor"],
            backbone_fingerprint=fitted.manifest.info.get("backbone_fingerprint"),
            fitted_images=dict(
                source=fitted.manifest.info.get("images_source"),
                split=fitted.split,
                fingerprint=fitted.manifest.info["images_fingerprint"],
            ),
            images_source={
                split: source.manifest.info.get("images_source")
                for split, source in assigned.items()
            },
        ),
    )
    workdir.finish(
        metrics=dict(
            num_clusters=kmeans.num_clusters,
            num_examples=fitted.num_examples,
            iterations=kmeans.iterations,
            inertia=kmeans.inertia,
            empty_clusters=kmeans.empty_clusters,
            cluster_size=cluster_report.size_metrics(kmeans.cluster_sizes),
            splits=metrics,
        )
    )
    for path in workdir.path.glob("checkpoint.npz*"):
        path.unlink()


def _assigned_sources(fitted):
    """Returns split -> source of the rows to label; raises InputError for a split named twice or
    features of another kind.
    """
    assigned = {}
    for path in _ASSIGN_DIR.value or []:
        source = sources.DirectorySource(path)
        if source.split in assigned:
            raise InputError(
                f"--assign_dir={path}: split {source.split} is already given by "
                f"{assigned[source.split].directory}"
            )
        for fact in ("dim", "extractor", "backbone_fingerprint"):
            ours, theirs = fitted.manifest.info.get(fact), source.manifest.info.get(fact)
            if ours != theirs:
                raise InputError(
                    f"--assign_dir={path}: {fact} is {theirs}, that of --features_dir is {ours}; "
                    "extract both alike"
                )
        assigned[source.split] = source
    return assigned or {fitted.split: fitted}


def _check_num_clusters(fitted):
    if _NUM_CLUSTERS.value < 1:
        raise InputError(f"--num_clusters={_NUM_CLUSTERS.value}: at least one cluster is needed")
    if _NUM_CLUSTERS.value > fitted.num_examples:
        raise InputError(
            f"--num_clusters={_NUM_CLUSTERS.value}: more than the {fitted.num_examples} rows in "
            f"{fitted.directory}"
        )


def _image_directory(source):
    """Returns where the images of `source` are, checked to be the same images, or None if they are
    gone.
    """
    noted = source.manifest.info["data_dir"]
    directory = pathlib.Path(stage_flags.DATA_DIR.value or noted)
    if not stage_flags.DATA_DIR.value and not (directory / manifest_lib.MANIFEST_NAME).is_file():
        print(
            f"{noted}: the images of split {source.split} are not there: no file names, no label "
            "metrics (--data_dir names another place)"
        )
        return None
    image_facts.check_images(directory, source.split, source.manifest.info["images_fingerprint"])
    return directory


def _print_cost(fitted, assigned, options, strategy):
    problem = cost.Problem(
        num_examples=fitted.num_examples,
        stored_dim=fitted.dim,
        dim=options.pca_dim or fitted.dim,
        projects=options.projects,
        normalizes=options.l2_normalize,
        num_clusters=_NUM_CLUSTERS.value,
        row_bytes=fitted.num_bytes / fitted.num_examples,
        in_memory=False,
        memory_bytes=int(_MEMORY_GB.value * 2**30),
        algorithm=_ALGORITHM.value,
        initialization="given" if _INITIAL_CENTROIDS.value else _INITIALIZATION.value,
        max_iterations=_MAX_ITERATIONS.value,
        restarts=_RESTARTS.value,
        minibatch_size=_MINIBATCH_SIZE.value,
        assigned_rows=sum(source.num_examples for source in assigned.values()),
        workers=distribution.worker(strategy)[1],
    )
    print(cost.describe(problem, machine_speed.measure(problem, fitted)), flush=True)


if __name__ == "__main__":
    launch.launch(main, __doc__)

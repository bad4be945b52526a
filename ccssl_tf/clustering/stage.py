"""The stage of clustering: centroids of one feature directory, pseudo-labels of one or more."""

import functools
import pathlib

import numpy as np
import tensorflow as tf

from ccssl_tf import distribution
from ccssl_tf.clustering import (
    cluster_browser,
    cluster_pages,
    cluster_report,
    clusters_csv,
    engines,
    near_duplicates,
    projector,
    pseudo_labels,
)
from ccssl_tf.clustering.cost import estimate, machine_speed
from ccssl_tf.clustering.cost.problem import Problem
from ccssl_tf.clustering.fitting.pass_log import tell_pass, write_summaries
from ccssl_tf.clustering.rows import preprocessing
from ccssl_tf.clustering.stage_settings import ClusteringSettings
from ccssl_tf.data import image_facts
from ccssl_tf.data.feature_directory import DirectorySource
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import MANIFEST_NAME, atomic_file, file_sha256, write_json


class ClusteringStage:
    """What is clustered, and what gets the pseudo-labels; all of it checked before any work.

    Attributes:
      settings: as given, with the number of clusters that was chosen.
      splits: names of the splits that get pseudo-labels.
    """

    def __init__(self, settings: ClusteringSettings, strategy):
        """Opens the features and finds their images.

        Raises:
          InputError: features that do not go together or with the settings, or other images.
        """
        self._fitted, self._strategy = DirectorySource(settings.features_dir), strategy
        self.settings = settings = settings.of_rows(self._fitted.num_examples)
        self._assigned = self._assigned_sources()
        self._check_num_clusters()
        settings.kmeans(strategy).settings().check_rows(self._fitted.num_examples)
        self._options = preprocessing.Options(
            settings.pca_dim, settings.whiten, settings.l2_normalize
        )
        self._options.check(self._fitted.num_examples, self._fitted.dim)
        self._images = {split: self._images_of(src) for split, src in self._assigned.items()}
        self.splits = list(self._assigned)

    def _assigned_sources(self):
        """Split -> source of the rows to label."""
        assigned: dict[str, DirectorySource] = {}
        for path in self.settings.assign_dir:
            source = DirectorySource(path)
            if source.split in assigned:
                raise InputError(
                    f"--assign_dir={path}: split {source.split} is already given by "
                    f"{assigned[source.split].directory}"
                )
            for fact in ("dim", "extractor", "backbone_fingerprint"):
                ours = self._fitted.manifest.info.get(fact)
                theirs = source.manifest.info.get(fact)
                if ours != theirs:
                    raise InputError(
                        f"--assign_dir={path}: {fact} is {theirs}, that of --features_dir is "
                        f"{ours}; extract both alike"
                    )
            assigned[source.split] = source
        return assigned or {self._fitted.split: self._fitted}

    def _check_num_clusters(self):
        count, rows = self.settings.num_clusters, self._fitted.num_examples
        if count > rows:
            raise InputError(
                f"--num_clusters={count}: more than the {rows} rows in {self._fitted.directory}"
            )

    def _images_of(self, source):
        """Where the images of a source are, checked to be the same; None if they are gone."""
        noted, given = source.manifest.info["data_dir"], self.settings.data_dir
        directory = pathlib.Path(given or noted)
        if not given and not (directory / MANIFEST_NAME).is_file():
            print(
                f"{noted}: the images of split {source.split} are not there: no file names, no "
                "label metrics (--data_dir names another place)"
            )
            return None
        fingerprint = source.manifest.info["images_fingerprint"]
        image_facts.check_images(directory, source.split, fingerprint)
        return directory

    def inputs(self) -> dict[str, str | None]:
        """Returns flag -> path of what is read; several directories to label are numbered."""
        inputs: dict[str, str | None] = {
            f"assign_dir[{number}]" if number else "assign_dir": path
            for number, path in enumerate(self.settings.assign_dir)
        }
        settings = self.settings
        return inputs | dict(features_dir=settings.features_dir, data_dir=settings.data_dir)

    def describe_cost(self) -> str:
        """Measures the machine for two seconds; returns passes, work, bytes, memory and time."""
        settings, fitted = self.settings, self._fitted
        dim, memory_bytes = self._options.pca_dim or fitted.dim, int(settings.memory_gb * 2**30)
        algorithm, reason = settings.algorithm, ""
        if algorithm == "auto":
            transformed = bool(self._options)
            num_bytes = 4 * fitted.num_examples * dim if transformed else fitted.num_bytes
            algorithm, why = engines.choose_algorithm(
                num_bytes, fitted.in_memory, memory_bytes, self._strategy
            )
            reason = f"algorithm: {algorithm}, since {why}\n"
        problem = Problem(
            num_examples=fitted.num_examples,
            stored_dim=fitted.dim,
            dim=dim,
            projects=self._options.projects,
            normalizes=self._options.l2_normalize,
            num_clusters=settings.num_clusters,
            row_bytes=fitted.num_bytes / fitted.num_examples,
            in_memory=False,
            memory_bytes=memory_bytes,
            algorithm=algorithm,
            initialization="given" if settings.initial_centroids else settings.initialization,
            max_iterations=settings.max_iterations,
            restarts=settings.restarts,
            minibatch_size=settings.minibatch_size,
            assigned_rows=(1 + (self._num_nearest() > 1))
            * sum(source.num_examples for source in self._assigned.values())
            + settings.cluster_browser * next(iter(self._assigned.values())).num_examples,
            workers=distribution.worker(self._strategy)[1],
        )
        return reason + estimate.describe(problem, machine_speed.measure(problem, fitted))

    def run(self, directory: pathlib.Path, should_stop=None) -> dict | None:
        """Clusters and writes centroids, pseudo-labels, nearest images and TensorBoard events.

        Args:
          directory: where to; a fit that was interrupted there is continued.
          should_stop: asked now and then; True ends the work with Interrupted.

        Returns:
          What `metrics.json` says; None in the processes that leave writing to another one.
        """
        chief = distribution.is_chief(self._strategy)
        kmeans = self.settings.kmeans(self._strategy)
        if chief:
            summaries = tf.summary.create_file_writer(str(directory / "tensorboard"))
        else:
            summaries = tf.summary.create_noop_writer()

        def on_pass(values):
            tell_pass(values)
            write_summaries(summaries, values)

        checkpoint = directory / "checkpoint.npz"
        kmeans.fit(
            self._fitted, checkpoint_path=checkpoint, on_pass=on_pass, should_stop=should_stop
        )
        summaries.close()
        if chief:
            with atomic_file(directory / "centroids.npy") as temporary:
                np.save(temporary, kmeans.centroids)
            if kmeans.preprocessing:
                kmeans.preprocessing.save(directory / "preprocessing.npz")
        answers = {
            split: kmeans.assign(source, should_stop=should_stop)
            for split, source in self._assigned.items()
        }
        nearest = {
            split: kmeans.nearest(
                self._assigned[split], *answer, self._num_nearest(), should_stop=should_stop
            )
            for split, answer in answers.items()
        }
        if not chief:
            return None
        pairs = {}
        for split, (numbers, lengths) in nearest.items() if self.settings.near_duplicates else ():
            source = self._assigned[split]
            pairs[split] = near_duplicates.find_of_split(
                split,
                kmeans.preprocessing.applied_to(source) if kmeans.preprocessing else source,
                numbers[:, 0],
                lengths[:, 0],
                self.settings.near_duplicates,
                memory_bytes=int(self.settings.memory_gb * 2**30),
                should_stop=should_stop,
            )
        metrics = self._write(directory, kmeans, nearest, pairs, should_stop)
        return dict(
            num_clusters=len(kmeans.centroids),
            num_examples=self._fitted.num_examples,
            iterations=kmeans.iterations,
            inertia=kmeans.inertia,
            algorithm=kmeans.algorithm_,
            empty_clusters=kmeans.empty_clusters,
            cluster_size=cluster_report.size_metrics(kmeans.cluster_sizes),
            splits=metrics,
        )

    def _num_nearest(self):
        """How many nearest clusters of an image are looked for; the list of clusters takes two."""
        settings = self.settings
        return max(settings.num_nearest, 1 + settings.clusters_csv)

    def _write(self, directory, kmeans, answers, pairs, should_stop):
        """Writes pseudo-labels, what people read of them, and the images nearest to centroids;
        returns metrics by split.

        Args:
          directory: where to.
          kmeans: fitted.
          answers: split -> what `KMeans.nearest` says of its rows.
          pairs: split -> pairs of its rows that are close; empty where none were looked for.
          should_stop: as of `run`.
        """
        kept = slice(self.settings.num_nearest)
        splits, metrics, nearest_tables, picture = {}, {}, {}, None
        for split, (numbers, lengths) in answers.items():
            labels, distances = numbers[:, 0], lengths[:, 0]
            source = self._assigned[split]
            index = source.indices()
            fingerprint = source.manifest.info["images_fingerprint"]
            facts = filenames = None
            if self._images[split]:
                facts = image_facts.read_image_facts(self._images[split], split, fingerprint)
                filenames = [facts.filenames[place] for place in index]
            splits[split] = pseudo_labels.PseudoLabels(
                fingerprint, index, labels, distances, filenames, numbers[:, kept], lengths[:, kept]
            )
            if facts and self.settings.cluster_pages:
                cluster_pages.write(
                    directory / "pages",
                    split,
                    facts,
                    index,
                    labels,
                    distances,
                    self.settings.cluster_pages,
                )
            agreement = cluster_report.label_metrics(labels, facts.labels[index]) if facts else {}
            metrics[split] = dict(agreement, num_examples=len(labels))
            if pairs:
                metrics[split]["near_duplicate_pairs"] = len(pairs[split][0])
            nearest = cluster_report.nearest_members(labels, distances, len(kmeans.centroids))
            nearest_tables[split] = cluster_report.nearest_table(
                nearest, labels, distances, index, filenames
            )
            if facts and picture is None:
                pictured = cluster_report.pictured_clusters(nearest, distances)
                picture = cluster_report.draw_nearest(pictured, nearest, index, facts)
                if self.settings.cluster_browser:
                    images = Manifest.read(self._images[split], "images", check_shards=False)
                    names = images.info.get("class_names")
                    rows, shown = cluster_browser.write(
                        directory,
                        split,
                        facts,
                        index,
                        labels,
                        distances,
                        len(kmeans.centroids),
                        functools.partial(kmeans.rows_at, source, should_stop=should_stop),
                        names,
                    )
                    projector.write(
                        directory / "tensorboard",
                        facts,
                        index[rows],
                        labels[rows],
                        distances[rows],
                        names,
                        shown,
                    )
            told = "".join(f"  {name} {value:.4f}" for name, value in agreement.items())
            print(f"pseudo-labels  {split}  {len(labels)} images{told}", flush=True)
        write_json(directory / "nearest.json", nearest_tables)
        if self.settings.clusters_csv:
            margins = {
                split: pseudo_labels.margins(nearest) for split, (_, nearest) in answers.items()
            }
            clusters_csv.write(directory, splits, margins)
        if pairs:
            near_duplicates.write(directory, splits, pairs)
        if picture is not None:
            (directory / "pictures").mkdir(exist_ok=True)
            with atomic_file(directory / "pictures" / "nearest_images.png") as temporary:
                picture.save(temporary)
        pseudo_labels.write_pseudo_labels(
            directory,
            splits,
            num_clusters=len(kmeans.centroids),
            info=self._provenance(directory, kmeans),
        )
        return metrics

    def _provenance(self, directory, kmeans):
        info = self._fitted.manifest.info
        return dict(
            centroids_sha256=file_sha256(directory / "centroids.npy"),
            preprocessing=kmeans.preprocessing and kmeans.preprocessing.fingerprint(),
            fitted_features_fingerprint=self._fitted.fingerprint(),
            features_fingerprint={
                split: source.fingerprint() for split, source in self._assigned.items()
            },
            extractor=info["extractor"],
            backbone_fingerprint=info.get("backbone_fingerprint"),
            fitted_images=dict(
                source=info.get("images_source"),
                split=self._fitted.split,
                fingerprint=info["images_fingerprint"],
            ),
            images_source={
                split: source.manifest.info.get("images_source")
                for split, source in self._assigned.items()
            },
        )

"""What the stage of clustering may be told."""

import dataclasses
import pathlib

from ccssl_tf.clustering.kmeans import ALGORITHMS, INITIALIZATIONS, KMeans
from ccssl_tf.runs.settings import SeedSettings, setting

# Images of a cluster, on average, where the number of clusters is left open: ImageNet's 1.28
# million then get the paper's 2,000 clusters, which is also the most.
_IMAGES_OF_CLUSTER, _ORDINAL, _MAX_CLUSTERS = 30, "thirtieth", 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusteringSettings(SeedSettings):
    """Clustering."""

    features_dir: str = setting(help="Feature directory to cluster: a workdir of ccssl_tf.extract.")
    assign_dir: tuple[str, ...] = setting(
        (),
        "Feature directory whose images get the pseudo-labels. Default: --features_dir.",
        repeated=True,
    )
    data_dir: str | None = setting(
        None, "Directory of the images, where they have moved since their features were made."
    )
    num_clusters: int = setting(
        0,
        f"Number of clusters K; 0: a {_ORDINAL} of the clustered images, at most {_MAX_CLUSTERS}.",
        minimum=0,
        paper=_MAX_CLUSTERS,
    )
    algorithm: str = setting(
        "auto",
        "Exact Lloyd iterations, as in the paper, or mini-batches (Sculley 2010): nearly as good, "
        "sooner. auto: lloyd where the features fit --memory_gb, else minibatch.",
        choices=ALGORITHMS,
    )
    initialization: str = setting(
        "k-means++",
        "Start: greedy k-means++ on a sample, k-means|| on all rows, or random rows.",
        choices=INITIALIZATIONS,
    )
    initial_centroids: str | None = setting(
        None, "Centroids to start from instead: [K, D] saved by numpy.save (.npy)."
    )
    restarts: int = setting(
        1,
        "Fits from different starts; the one with the lowest inertia is kept.",
        minimum=1,
        maximum=1000,
    )
    minibatch_size: int = setting(1024, "Rows a mini-batch.", minimum=1, maximum=2**24)
    max_no_improvement: int = setting(
        10,
        "Stop after this many mini-batches in a row not lowering the smoothed inertia; 0: do not.",
        minimum=0,
    )
    reassignment_ratio: float = setting(
        0.01,
        "Mini-batch: clusters with fewer rows than this share of the largest one's move to rows of "
        "others.",
        minimum=0,
        maximum=0.99,
    )
    max_iterations: int = setting(
        100, "Updates of the centroids at the most; mini-batch: passes.", minimum=1
    )
    tolerance: float = setting(
        1e-4,
        "Stop when a pass lowers the inertia by less than this share of it; 0: when no assignment "
        "changes.",
        minimum=0,
    )
    max_cluster_share: float = setting(
        1.0,
        "Divide clusters that hold more than this share of the clustered images, largest first, "
        "until none does; there are more than --num_clusters then. 1, as in the paper: do not.",
        minimum=1e-9,
        maximum=1,
    )
    pca_dim: int = setting(
        0,
        "First project the features on as many principal axes; 0, as in the paper: do not.",
        minimum=0,
    )
    whiten: bool = setting(
        False,
        "First whiten the features: variance 1 along the principal axes, of which --pca_dim are "
        "kept.",
    )
    l2_normalize: bool = setting(
        False, "First divide every row by its length, after PCA and whitening."
    )
    clusters_csv: bool = setting(
        True,
        "Write clusters.csv: file name, cluster, distance and margin to the second cluster of "
        "every labelled image. They and --num_nearest take one more pass over these.",
    )
    num_nearest: int = setting(
        5,
        "Nearest clusters of an image, with distances, kept beside its pseudo-label: soft labels "
        "(train --label_temperature) spread over them; train --min_margin needs 2. 1: the label.",
        minimum=1,
        maximum=100,
    )
    cluster_browser: bool = setting(
        True,
        "Write browser.json: small photos of every cluster and their nearest neighbours, up to "
        "3,000, for the report's cluster browser, and them for TensorBoard's PROJECTOR; takes one "
        "more pass over their features.",
    )
    cluster_pages: int = setting(
        0,
        "Clusters, the largest first, of which a page with their nearest and furthest images is "
        "written to pages/.",
        minimum=0,
    )
    near_duplicates: float = setting(
        0.0,
        "List in near_duplicates.csv the pairs of images of one cluster whose features are no "
        "further apart than this times the mean distance to the nearest centroid. 0: do not.",
        minimum=0,
    )
    memory_gb: float = setting(
        4.0,
        "Features up to this size are read once; larger ones on each pass, in windows of an eighth "
        "of it. Bounds take up to three eighths; centroids and sums come on top (--dry_run says "
        "how much in all).",
        unit="GiB",
        minimum=0,
        maximum=1_000_000,
    )

    def of_rows(self, count: int) -> "ClusteringSettings":
        """Returns these settings with the number of clusters for as many rows, if it is open."""
        if self.num_clusters:
            return self
        num_clusters = min(max(count // _IMAGES_OF_CLUSTER, 2), count, _MAX_CLUSTERS)
        return dataclasses.replace(self, num_clusters=num_clusters)

    def kmeans(self, strategy=None) -> KMeans:
        """Returns the k-means these settings describe."""
        given = self.initial_centroids
        return KMeans(
            self.num_clusters,
            algorithm=self.algorithm,
            initialization=pathlib.Path(given) if given else self.initialization,
            restarts=self.restarts,
            minibatch_size=self.minibatch_size,
            max_no_improvement=self.max_no_improvement,
            reassignment_ratio=self.reassignment_ratio,
            max_iterations=self.max_iterations,
            tolerance=self.tolerance,
            seed=self.seed,
            memory_gb=self.memory_gb,
            pca_dim=self.pca_dim,
            whiten=self.whiten,
            l2_normalize=self.l2_normalize,
            max_cluster_share=self.max_cluster_share,
            verbose=True,
            strategy=strategy,
        )

"""Students of one teacher, which several tests look at."""

import pytest

from ccssl_tf.reporting.runs import RunSet


@pytest.fixture
def students(runs):
    """A writer of one teacher and a student for each number of clusters; returns the runs."""

    def write(*counts):
        runs.method()
        for count in counts:
            write_student(runs, f"num_clusters_{count}/", count)
        return RunSet(runs.root)

    return write


def write_student(runs, root, count):
    runs.add(
        f"{root}clusters",
        f"ccssl_tf.cluster --num_clusters={count}",
        inputs=dict(features_dir="features"),
        metrics=dict(
            num_clusters=count,
            empty_clusters=1,
            cluster_size=dict(min=1, median=4.5, max=9, perplexity=17.2),
            splits=dict(val=dict(nmi=0.3, ari=0.1, purity=count / 1000, num_examples=9)),
        ),
        output="manifest.json",
    )
    runs.add(
        f"{root}cc",
        "ccssl_tf.train --task=cluster_classification --backbone=alexnet",
        inputs=dict(data_dir="data", pseudo_labels=f"{root}clusters"),
        metrics=dict(
            step=50,
            facts=dict(chance=dict(val=0.1)),
            training=dict(accuracy=0.7),
            evaluation=dict(accuracy=0.4, loss=2.0),
        ),
        output="backbone.json",
    )
    runs.probe(f"{root}probe", [0.2, 0.3 + count / 1000], init=f"{root}cc")

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.clustering.fitting.pass_log import PassLog, tell_pass, write_summaries


def test_the_values_of_a_pass(tmp_path, told):
    shown = []
    log = PassLog(num_examples=100, dim=5, num_clusters=4, max_passes=11, on_pass=shown.append)
    sizes = np.array([50, 50, 0, 0])
    log(
        iteration=2,
        inertia=7.0,
        moved_rows=25,
        sizes=sizes,
        split=1,
        computed=200,
        seconds=2.0,
        bytes_read=3e9,
    )
    (values,) = shown
    assert (
        values["moved"],
        values["empty_clusters"],
        values["split_clusters"],
        values["computed"],
    ) == (0.25, 2, 1, 0.5)
    assert values["imbalance"] == pytest.approx(2) and values["gflops"] == pytest.approx(
        2 * 200 * 5 / 2e9
    )
    assert values["eta_seconds"] == 16 and values["gb_read"] == 3
    tell_pass(values)
    line = told()
    assert (
        "pass 3  inertia 7  moved 25.00%  empty 2  split 1  imbalance 2" in line
        and "at most 0:00:16 left" in line
    )
    write_summaries(tf.summary.create_file_writer(str(tmp_path)), values)
    (path,) = tmp_path.iterdir()
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert {
        "kmeans/inertia",
        "kmeans/split_clusters",
        "kmeans/imbalance",
        "kmeans/gflops",
        "kmeans/cluster_sizes",
    } <= tags

import dataclasses

import numpy as np
import pytest

from ccssl_tf.clustering.kmeans_settings import ALGORITHMS, INITIALIZATIONS, KMeansSettings
from ccssl_tf.clustering.rows import sources
from ccssl_tf.clustering.rows.preprocessing import Options
from ccssl_tf.runs.errors import InputError

SETTINGS = KMeansSettings(
    num_clusters=3,
    algorithm="lloyd",
    initialization="k-means++",
    max_iterations=5,
    tolerance=0.0,
    seed=0,
    memory_bytes=1000,
    restarts=1,
    minibatch_size=10,
    max_no_improvement=10,
    reassignment_ratio=0.01,
    checkpoint_seconds=1.0,
    preprocessing=Options(),
)


@pytest.mark.parametrize(
    "name, value",
    [
        ("num_clusters", 0),
        ("algorithm", "elkan"),
        ("initialization", "first"),
        ("max_iterations", 0),
        ("tolerance", float("nan")),
        ("tolerance", -1.0),
        ("minibatch_size", 0),
        ("max_no_improvement", -1),
        ("reassignment_ratio", 1.0),
        ("restarts", 0),
    ],
)
def test_impossible_values_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name}="):
        dataclasses.replace(SETTINGS, **{name: value})


@pytest.mark.parametrize("given", [np.eye(3), [[1.0], [2.0], [3.0]], "start.npy"])
def test_a_given_start_cannot_be_restarted_but_by_mini_batches(given):
    dataclasses.replace(SETTINGS, initialization=given)
    with pytest.raises(InputError, match="restarts=2"):
        dataclasses.replace(SETTINGS, initialization=given, restarts=2)
    dataclasses.replace(SETTINGS, initialization=given, restarts=2, algorithm="minibatch")


def test_the_identity_is_of_what_decides(tmp_path):
    source = sources.open_source(np.eye(4), 0)
    np.save(tmp_path / "start.npy", np.eye(3, 4))
    changes = [
        *(dict(algorithm=name) for name in ALGORITHMS),
        *(dict(initialization=name) for name in INITIALIZATIONS[1:]),
        dict(initialization=np.eye(3, 4)),
        dict(initialization=tmp_path / "start.npy"),
        dict(num_clusters=2),
        dict(seed=1),
        dict(memory_bytes=2000),
        dict(algorithm="minibatch", minibatch_size=11),
        dict(algorithm="minibatch", max_no_improvement=11),
        dict(algorithm="minibatch", reassignment_ratio=0.1),
    ]
    found = {dataclasses.replace(SETTINGS, **change).identity(source) for change in changes}
    assert len(found) == len(changes) and SETTINGS.identity(source) in found
    assert SETTINGS.identity(sources.open_source(2 * np.eye(4), 0)) not in found
    # These may differ when a fit is continued.
    for change in (dict(max_iterations=9), dict(tolerance=0.5), dict(checkpoint_seconds=9.0)):
        assert dataclasses.replace(SETTINGS, **change).identity(source) in found
    assert dataclasses.replace(SETTINGS, minibatch_size=11).identity(source) in found

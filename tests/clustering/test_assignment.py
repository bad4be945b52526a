import inspect

import numpy as np
import pytest

from ccssl_tf.clustering import assignment, engines
from ccssl_tf.clustering.device import lloyd
from ccssl_tf.clustering.host.accelerated import AcceleratedAssignment
from ccssl_tf.clustering.host.plain import PlainAssignment


@pytest.mark.parametrize(
    "kind",
    [
        AcceleratedAssignment,
        PlainAssignment,
        engines.WorkerAssignment,
        lloyd.DeviceAssignment,
    ],
)
def test_every_way_to_assign_has_the_one_contract(kind):
    assert issubclass(kind, assignment.Assignment) and not kind.__abstractmethods__
    wanted = inspect.signature(assignment.Assignment.step)
    assert inspect.signature(kind.step) == wanted
    with pytest.raises(TypeError, match="abstract"):
        assignment.Assignment()


def test_of_an_interrupted_pass_the_clusters_that_changed_are_known():
    begun = assignment.Begun(np.array([3, -1, 2, 2], np.int32), np.zeros(4, np.float32))
    labels = np.array([3, 5, 7, 2, 9, 9], np.int32)
    np.testing.assert_array_equal(begun.changed(labels), [2, 5, 7])
    assert not len(assignment.Begun.nothing().changed(labels))

import dataclasses

import pytest
from clustering.cost.test_estimate import PROBLEM

from ccssl_tf.clustering.cost.problem import Problem

HALF = dataclasses.replace(PROBLEM, num_examples=100, dim=10, row_bytes=20)


@pytest.mark.parametrize(
    "changes, kept_bytes",
    [
        (dict(memory_bytes=0), 2000),
        (dict(memory_bytes=3999), 2000),
        (dict(memory_bytes=4000), 4000),
        (dict(memory_bytes=0, projects=True), 4000),
        (dict(memory_bytes=0, normalizes=True), 4000),
    ],
)
def test_kept_rows_are_float32_where_that_fits_or_they_are_transformed(changes, kept_bytes):
    assert dataclasses.replace(HALF, **changes).kept_bytes == kept_bytes


def test_rows_are_kept_if_they_fit_or_are_in_memory():
    assert not dataclasses.replace(HALF, memory_bytes=1999).keeps
    assert dataclasses.replace(HALF, memory_bytes=2000).keeps
    assert dataclasses.replace(HALF, memory_bytes=0, in_memory=True).keeps


def test_a_projection_is_a_product_with_all_axes():
    assert isinstance(HALF, Problem) and HALF.projection_flops == 0
    assert dataclasses.replace(HALF, stored_dim=30, projects=True).projection_flops == 2 * 30 * 10
    assert dataclasses.replace(HALF, projects=True).projection_flops == 2 * 10 * 10

"""The examples in docstrings of this room run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import ccssl_tf.clustering

MODULES = [
    f"ccssl_tf.clustering.{module.name}"
    for module in pkgutil.iter_modules(ccssl_tf.clustering.__path__)
]


@pytest.mark.parametrize("name", ccssl_tf.clustering.__all__)
def test_what_the_room_exports_has_an_example(name):
    assert ">>> " in getattr(ccssl_tf.clustering, name).__doc__


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0

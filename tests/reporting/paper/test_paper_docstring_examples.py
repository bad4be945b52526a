"""The examples in docstrings of this room run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import ccssl_tf.reporting.paper as paper

MODULES = [f"{paper.__name__}.{module.name}" for module in pkgutil.iter_modules(paper.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0

"""The tutorial runs from top to bottom, in small."""

import os
import pathlib
import sys

import nbclient
import nbformat
import pytest

NOTEBOOK = pathlib.Path(__file__).resolve().parent.parent / "experiments" / "tutorial.ipynb"
SMALLER = {
    "STEPS, PROBE_STEPS = 300, 400": "STEPS, PROBE_STEPS = 4, 4",
    "--num_train=1500 --num_val=300": "--num_train=160 --num_val=40",
    "KMeans(50,": "KMeans(8,",
    "num_clusters=50": "num_clusters=8",
}


def _small_notebook():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        for text, other in SMALLER.items():
            cell.source = cell.source.replace(text, other)
    return notebook


def test_the_notebook_is_valid_and_its_sizes_are_where_the_test_changes_them():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    sources = "\n".join(cell.source for cell in notebook.cells)
    for text in SMALLER:
        assert sources.count(text) == 1, text
    assert NOTEBOOK.stat().st_size < 1_000_000


@pytest.mark.slow
def test_every_cell_runs(tmp_path, monkeypatch):
    scripts = os.path.dirname(sys.executable)
    monkeypatch.setenv("PATH", os.pathsep.join([scripts, os.environ["PATH"]]))
    notebook = _small_notebook()
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    assert "'conv5': (4, 8, 8, 128)" in notebook.cells[-1].outputs[-1]["data"]["text/plain"]
    assert (tmp_path / "tutorial" / "saved_model" / "saved_model.pb").is_file()

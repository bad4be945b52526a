"""Figures are PNGs of the numbers given, the same each time, for light and dark pages."""

import io

import numpy as np
import pytest
from PIL import Image

from ccssl_tf.reporting import figures
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise


@pytest.fixture
def run_set(runs):
    runs.method()
    return RunSet(runs.root)


def test_probes_are_drawn_for_light_and_dark(run_set):
    table = summarise(run_set)["probes"]["linear_probe"]
    first, second = (figures.both_grounds(figures.draw_probes, table) for _ in range(2))
    assert first == second
    corners = {
        ground: Image.open(io.BytesIO(png)).convert("L").getpixel((2, 2))
        for ground, png in first.items()
    }
    assert corners["light"] > 240 and corners["dark"] < 60


def test_probe_lines_are_the_accuracies(run_set):
    from matplotlib.figure import Figure

    figure = Figure()
    figures.draw_probes(figure, summarise(run_set)["probes"]["linear_probe"])
    drawn = [
        line.get_ydata()
        for line in figure.axes[0].lines
        if len(line.get_ydata()) == 5 and line.get_marker() == "o"
    ]
    np.testing.assert_allclose(drawn[1], [27.1, 34.1, 41, 39, 33])


@pytest.mark.parametrize(
    ("numbers", "told", "half"),
    [
        (dict(values=[0.5]), "no bars", 0),
        (dict(values=[0.4, 0.6]), "from the least to the greatest", 10),
        (dict(values=[0.4, 0.6], standard_error=0.03), "one standard error", 3),
    ],
)
def test_bars_are_what_the_legend_says(numbers, told, half):
    from matplotlib.figure import Figure

    values = numbers["values"]
    statistics = dict(numbers, mean=0.5, min=min(values), max=max(values))
    networks = [
        dict(network=name, evaluation={"accuracy/conv1": statistics}) for name in ("a", "b")
    ]
    figure = Figure()
    figures.draw_probes(figure, dict(endpoints=["conv1"], networks=networks))
    (axes,) = figure.axes
    assert axes.get_legend().get_title().get_text().find(told) >= 0
    for container in axes.containers:
        (bars,) = container.lines[2]
        ((low, high),) = [segment[:, 1] for segment in bars.get_segments()]
        np.testing.assert_allclose([low, high], [50 - half, 50 + half])
    places = [container.lines[0].get_xdata()[0] for container in axes.containers]
    assert places[0] < 0 < places[1], "side by side"


def test_curves_hold_loss_and_accuracy(run_set):
    from matplotlib.figure import Figure

    figure = Figure()
    run = next(run for run in run_set.runs if run.name == "jigsaw_pp")
    figures.draw_curves(figure, [("Jigsaw++", run)], 0.01)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy, %"]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata()[:2], [5, 4.9])
    np.testing.assert_allclose(figure.axes[1].lines[1].get_ydata(), [17])


def test_pictures_stand_side_by_side(run_set):
    path = next(run.picture("conv1_filters") for run in run_set.runs if run.name == "jigsaw_pp")
    sheet = Image.open(io.BytesIO(figures.side_by_side([("one", path), ("two", path)], height=60)))
    original = np.asarray(Image.open(path))
    np.testing.assert_array_equal(np.asarray(sheet)[16:76, 16:76], original)
    np.testing.assert_array_equal(np.asarray(sheet)[16:76, 92:152], original)


def test_the_histogram_counts_every_cluster():
    from matplotlib.figure import Figure

    figure = Figure()
    sizes = dict(train=[0, 3, 3, 700, 12], val=[1, 1, 2])
    figures.draw_cluster_sizes(figure, sizes)
    for axes, counts in zip(figure.axes, sizes.values(), strict=True):
        bars = [
            (bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in axes.patches
        ]
        assert sum(height for _, _, height in bars) == len(counts)
        for count in counts:
            assert any(left < count < right and height for left, right, height in bars)

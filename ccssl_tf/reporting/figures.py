"""The report's drawings, as PNG bytes, each for light and for dark pages."""

import io
import os
from typing import Any

import numpy as np
from PIL import Image

from ccssl_tf.reporting.run import Run

# These colours of lines can be read on light and dark grounds, and by the colour-blind.
_COLOURS = ("#8c8c8c", "#0a7bbf", "#d9630d", "#129467", "#b85c9e", "#b8910a", "#5aa9d6", "#7d5fc4")
_GROUNDS = {"light": ("#ffffff", "#1d1d1f", "#d9d9de"), "dark": ("#1c1c1f", "#ececf0", "#3c3c42")}


def both_grounds(draw, *arguments) -> dict[str, bytes]:
    """Returns {"light": PNG, "dark": PNG} of `draw(figure, *arguments)`, drawn with matplotlib."""
    # These imports are here because `--help` need not wait for them.
    import matplotlib
    from cycler import cycler

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pictures = {}
    for ground, (paper, ink, grid) in _GROUNDS.items():
        style: Any = {
            "figure.facecolor": paper,
            "axes.facecolor": paper,
            "savefig.facecolor": paper,
            "text.color": ink,
            "axes.labelcolor": ink,
            "axes.edgecolor": grid,
            "xtick.color": ink,
            "ytick.color": ink,
            "grid.color": grid,
            "axes.grid": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=_COLOURS),
            "legend.frameon": False,
            "font.size": 10,
            # A name may hold dollar signs, and is no formula.
            "text.parse_math": False,
        }
        with matplotlib.rc_context(style):
            figure = pyplot.figure(layout="constrained")
            draw(figure, *arguments)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
            pyplot.close(figure)
        pictures[ground] = buffer.getvalue()
    return pictures


def bars_of(table: dict) -> str:
    """Returns what the bars in the drawing of probes are.

    Args:
      table: one entry of `summary["probes"]`.
    """
    statistics = [
        numbers
        for entry in table["networks"]
        for name, numbers in entry["evaluation"].items()
        if name.startswith("accuracy/")
    ]
    if all("standard_error" in numbers for numbers in statistics):
        return "bars: one standard error up and down"
    if any(len(numbers["values"]) > 1 for numbers in statistics):
        return "bars: from the least to the greatest of the seeds"
    return "no bars: the errors are not known"


def draw_probes(figure, table: dict):
    """Draws accuracy over layers, a line for each network, with the bars that `bars_of` tells of.

    Args:
      figure: matplotlib figure.
      table: one entry of `summary["probes"]`.
    """
    figure.set_size_inches(7, 3.6)
    axes = figure.add_subplot()
    endpoints, bars, count = table["endpoints"], bars_of(table), len(table["networks"])
    has_errors = "standard error" in bars
    for number, entry in enumerate(table["networks"]):
        accuracies = {
            position: entry["evaluation"][f"accuracy/{endpoint}"]
            for position, endpoint in enumerate(endpoints)
            if f"accuracy/{endpoint}" in entry["evaluation"]
        }
        keys = ("mean", "standard_error") if has_errors else ("mean", "min", "max")
        mean, *ends = (
            100 * np.array([statistics[key] for statistics in accuracies.values()]) for key in keys
        )
        # Side by side, so that no bar hides another.
        shift = 0.3 * ((number + 0.5) / count - 0.5)
        axes.errorbar(
            [position + shift for position in accuracies],
            mean,
            yerr=ends[0] if has_errors else [mean - ends[0], ends[1] - mean],
            marker="o",
            markersize=5,
            capsize=3,
            linewidth=2,
            label=entry["network"],
        )
    axes.set_xticks(range(len(endpoints)), endpoints)
    axes.set_ylabel("held-out accuracy, %")
    axes.legend(title=bars, title_fontsize=8, fontsize=9)


def draw_curves(figure, runs: list[tuple[str, Run]], chance: float | None):
    """Draws the loss and, where there is one, the accuracy of some runs over the steps.

    Args:
      figure: matplotlib figure.
      runs: (label, run) of one task.
      chance: accuracy of guessing, in [0, 1], or None.
    """
    names = [
        name
        for name in ("loss", "accuracy")
        if any(_curve(run, "train", name)[0] for _, run in runs)
    ]
    figure.set_size_inches(3.9 * max(len(names), 1), 3.1)
    for position, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), position + 1)
        scale = 100 if name == "accuracy" else 1
        for index, (label, run) in enumerate(runs):
            colour = _COLOURS[(index + 1) % len(_COLOURS)]
            steps, values = _curve(run, "train", name)
            axes.plot(
                steps,
                np.multiply(values, scale),
                linewidth=1.2,
                alpha=0.9,
                color=colour,
                label=f"{label}, training",
            )
            steps, values = _curve(run, "evaluation", name)
            if steps:
                axes.plot(
                    steps,
                    np.multiply(values, scale),
                    "o--",
                    markersize=4,
                    linewidth=1,
                    color=colour,
                    label=f"{label}, held out",
                )
        if name == "accuracy" and chance:
            axes.axhline(
                100 * chance, linewidth=1, linestyle=":", color=_COLOURS[0], label="chance"
            )
        axes.set_xlabel("step")
        axes.set_title("accuracy, %" if name == "accuracy" else name, fontsize=10)
        if position == len(names) - 1:
            axes.legend(fontsize=8)


def draw_cluster_sizes(figure, sizes: dict[str, list[int]]):
    """Draws how many clusters have how many images, a histogram for each split, and its mean.

    Args:
      figure: matplotlib figure.
      sizes: split -> images of each cluster.
    """
    figure.set_size_inches(3.9 * max(len(sizes), 1), 2.6)
    for position, (split, counts) in enumerate(sizes.items()):
        axes = figure.add_subplot(1, len(sizes), position + 1)
        # Every bin is some whole numbers wide, or some bins would have no number to count.
        width = max(1, -(-(max(counts) + 1) // 30))
        axes.set_axisbelow(True)
        axes.hist(
            counts, bins=np.arange(0, max(counts) + width + 1, width) - 0.5, color=_COLOURS[1]
        )
        axes.axvline(
            float(np.mean(counts)),
            linewidth=1.2,
            linestyle=":",
            color=_COLOURS[2],
            label=f"mean {np.mean(counts):.4g}",
        )
        axes.set_xlabel(f"images in a cluster, {split}")
        axes.set_ylabel("clusters" if position == 0 else "")
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=8)


def _curve(run: Run, part: str, name: str) -> tuple[list, list]:
    """Returns the steps and the values of a metric in one part of a run's history."""
    points = [
        (row["step"], row[name])
        for row in run.history.get(part, [])
        if name in row and "step" in row
    ]
    return [step for step, _ in points], [value for _, value in points]


def side_by_side(pictures: list[tuple[str, os.PathLike]], height: int = 360) -> bytes:
    """Returns a PNG of pictures (caption, path) in one row on white, with captions beneath.

    Each is scaled to `height` pixels.
    """
    from PIL import ImageDraw, ImageFont

    font, margin = ImageFont.load_default(18), 16
    scaled = []
    for caption, path in pictures:
        with Image.open(path) as picture:
            width = max(1, round(picture.width * height / picture.height))
            kind = Image.Resampling.NEAREST if picture.height < height else Image.Resampling.LANCZOS
            scaled.append((caption, picture.convert("RGB").resize((width, height), kind)))
    sheet = Image.new(
        "RGB",
        (margin + sum(image.width + margin for _, image in scaled), height + 2 * margin + 24),
        "white",
    )
    left = margin
    for caption, image in scaled:
        sheet.paste(image, (left, margin))
        ImageDraw.Draw(sheet).text((left, height + margin + 4), caption, fill="black", font=font)
        left += image.width + margin
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()

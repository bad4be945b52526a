"""Numbers, their spread over seeds, and tables, written as text."""

from collections.abc import Sequence


def percent(share: float) -> str:
    """Returns e.g. `34.1` for a share of 0.341."""
    return f"{100 * share:.1f}"


def error_of(statistics: dict) -> str:
    """Returns e.g. ` ± 1.9`, the standard error in points; "" where it is not known."""
    error = statistics.get("standard_error")
    return "" if error is None else f" ± {percent(error)}"


def percent_with_error(statistics: dict) -> str:
    """Returns e.g. `34.1% ± 1.9`; `34.1%` where the standard error is not known."""
    return f"{percent(statistics['mean'])}%{error_of(statistics)}"


def percent_range(statistics: dict, dash: str = "-") -> str:
    """Returns e.g. `33.0-35.2`: the least and the greatest of the seeds, in %."""
    return f"{percent(statistics['min'])}{dash}{percent(statistics['max'])}"


def percent_over_seeds(statistics: dict | None) -> str:
    """Returns e.g. `34.1`, over several seeds `34.1 (33.0-35.2)`, in %; a dash for None."""
    if statistics is None:
        return "-"
    mean = percent(statistics["mean"])
    return f"{mean} ({percent_range(statistics)})" if len(statistics["values"]) > 1 else mean


def number_over_seeds(statistics: dict | None) -> str:
    """Returns the mean of the seeds: a count as it is, else three digits; a dash for None."""
    if statistics is None:
        return "-"
    mean = statistics["mean"]
    is_count = mean.is_integer() and abs(mean) >= 1
    return f"{mean:,.0f}" if is_count or abs(mean) >= 1000 else f"{mean:.3g}"


def chance_of(entry: dict) -> str:
    """Returns what guessing gets right, e.g. `1.0%`; a dash where nobody can say.

    The chance level of a task without an accuracy is an error, and gets a dash, too.

    Args:
      entry: one of `summary["training"]`.
    """
    has_accuracy = any("accuracy" in entry[part] for part in ("training", "evaluation"))
    return f"{percent(entry['chance'])}%" if entry["chance"] and has_accuracy else "-"


def seeds_of(entries: list[dict]) -> str:
    """Returns e.g. `seed 0` or `seeds 0, 1, 2`: those of all the entries."""
    seeds = sorted({seed for entry in entries for seed in entry["seeds"]})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def metric_label(name: str) -> str:
    """Returns e.g. `pixel accuracy` for `pixel_accuracy`; mean average precision is `mAP`."""
    return name.replace("mean_average_precision", "mAP").replace("_", " ")


def table_lines(rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """Returns the rows as lines with straight columns, two spaces apart and indented by two.

    Args:
      rows: cells, the same number in every row.
      left: how many columns are aligned to the left; the others are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if position < left else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines

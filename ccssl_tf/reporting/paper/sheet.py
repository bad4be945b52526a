"""The tables as one file of comma-separated values, for spreadsheets and programs."""

import csv
import io
from collections.abc import Sequence

from ccssl_tf.reporting.paper.comparison import ComparedNumber, ComparedTable

COLUMNS = (
    *("table", "row", "column", "paper", "ours", "spread", "seeds", "standard_error"),
    *("standard_error_by", "images", "stage", "metric", "reference"),
)


def as_csv(tables: Sequence[ComparedTable]) -> str:
    """Returns a line for each number of the paper or ours; accuracies, spreads and errors in %.

    Args:
      tables: of `compare`.

    Returns:
      Text with a head; what there is not is empty: `paper` of networks that are not in it, `ours`
      of what was not run, `spread` (standard deviation) of one seed.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for table in tables:
        for row in table.rows:
            for cell in row.cells:
                if cell is not None and not (cell.paper is None and cell.ours is None):
                    writer.writerow([table.name, row.name, cell.column, *_values(cell)])
    return text.getvalue()


def _values(cell: ComparedNumber) -> list[str]:
    paper = "" if cell.paper is None else f"{cell.paper:.1f}"
    measured = [""] * 6
    if cell.ours is not None:
        ours = cell.ours
        measured = [
            _percent(ours.mean),
            _percent(ours.spread),
            str(len(ours.values)),
            _percent(ours.standard_error),
            ours.error_by or "",
            "" if ours.count is None else str(ours.count),
        ]
    return [paper, *measured, cell.stage, cell.metric, cell.reference]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.4f}"

"""Each table of the paper beside ours, as plain data."""

import dataclasses

from ccssl_tf.reporting.paper.results import Results, Statistic
from ccssl_tf.reporting.paper.tables import TITLES, PaperNumber, network_name, paper_numbers

# Evaluations of ours that the paper has not -> title of their table.
_OTHER_TABLES = {"imagenet_knn": "Not in the paper: nearest neighbours on frozen layers, ImageNet"}
_NO_ROWS_OF_OTHERS = ("1", "2", "text")


@dataclasses.dataclass(frozen=True)
class ComparedNumber:
    """A cell: the paper's number, ours, or both.

    Attributes:
      column: of the table.
      stage, metric: what measures it.
      paper: in %, None where the paper has none.
      ours: over the seeds, None where it was not run.
      reference: of the paper's number, maybe "".
    """

    column: str
    stage: str
    metric: str
    paper: float | None
    ours: Statistic | None
    reference: str


@dataclasses.dataclass(frozen=True)
class ComparedRow:
    """A row of a table.

    Attributes:
      name: as in the paper.
      in_paper: whether the paper has this row.
      cells: one for each column of the table, None where there is no such cell.
    """

    name: str
    in_paper: bool
    cells: tuple[ComparedNumber | None, ...]

    @property
    def was_run(self) -> bool:
        """Whether one of its numbers was measured."""
        return any(cell is not None and cell.ours is not None for cell in self.cells)


@dataclasses.dataclass(frozen=True)
class ComparedTable:
    """A table of the paper with our numbers.

    Attributes:
      name: "1" to "6", "text", or the name of an evaluation of ours.
      title: what it shows.
      columns: their names.
      rows: those of the paper in its order, then others that we measured.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[ComparedRow, ...]

    @property
    def run(self) -> list[ComparedRow]:
        """The rows of which something was measured."""
        return [row for row in self.rows if row.was_run]

    @property
    def not_run(self) -> list[str]:
        """The names of the other rows."""
        return [row.name for row in self.rows if not row.was_run]


def compare(results: Results) -> list[ComparedTable]:
    """Returns every table of the paper with our numbers, then those of ours alone.

    Args:
      results: what was measured.
    """
    tables = [_table(name, title, results) for name, title in TITLES.items()]
    others = (
        _other_table(evaluation, title, results) for evaluation, title in _OTHER_TABLES.items()
    )
    return tables + [table for table in others if table.run]


def _table(name: str, title: str, results: Results) -> ComparedTable:
    numbers = [number for number in paper_numbers() if number.table == name]
    columns = tuple(dict.fromkeys(number.column for number in numbers))
    by_row: dict[str, dict[str, PaperNumber]] = {}
    for number in numbers:
        by_row.setdefault(number.row, {})[number.column] = number
    # What measures a column, less the network; the rows of other networks are of it, too.
    measured_by = {number.column: (number.evaluation, number.metric) for number in numbers}
    rows = []
    for row, of_row in by_row.items():
        cells: list[ComparedNumber | None] = []
        for column in columns:
            theirs = of_row.get(column)
            if theirs is None and name in _NO_ROWS_OF_OTHERS:
                cells.append(None)
                continue
            network = (theirs or next(iter(of_row.values()))).network
            cells.append(_cell(column, *measured_by[column], network, results, theirs))
        rows.append(ComparedRow(row, True, tuple(cells)))
    if name not in _NO_ROWS_OF_OTHERS:
        # What another table of the paper has is shown there.
        in_paper = {number.stage for number in paper_numbers()}
        known = {number.network for number in numbers}
        evaluations = dict.fromkeys(evaluation for evaluation, _ in measured_by.values())
        others = dict.fromkeys(
            network
            for evaluation in evaluations
            for network in results.networks(evaluation)
            if network not in known and f"{evaluation}/{network}" not in in_paper
        )
        rows += [_other_row(network, measured_by, results) for network in others]
    return ComparedTable(name, title, columns, tuple(rows))


def _other_table(evaluation: str, title: str, results: Results) -> ComparedTable:
    networks = results.networks(evaluation)
    metrics = dict.fromkeys(
        metric
        for network in networks
        for metric in results.metrics(f"{evaluation}/{network}", "evaluation.accuracy")
    )
    measured_by = {
        metric.removeprefix("evaluation.").removeprefix("accuracy/"): (evaluation, metric)
        for metric in sorted(metrics)
    }
    rows = tuple(_other_row(network, measured_by, results) for network in networks)
    return ComparedTable(evaluation, title, tuple(measured_by), rows)


def _other_row(network, measured_by, results):
    cells = [
        _cell(column, evaluation, metric, network, results)
        for column, (evaluation, metric) in measured_by.items()
    ]
    return ComparedRow(network_name(network), False, tuple(cells))


def _cell(column, evaluation, metric, network, results, number: PaperNumber | None = None):
    stage = f"{evaluation}/{network}"
    return ComparedNumber(
        column=column,
        stage=stage,
        metric=metric,
        paper=number.value if number else None,
        ours=results.statistic(stage, metric),
        reference=number.reference if number else "",
    )

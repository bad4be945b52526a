"""The page of the paper's tables and claims: the data of its templates."""

from collections.abc import Sequence

from ccssl_tf.reporting.elements import Cell, CellLike, table
from ccssl_tf.reporting.page import render
from ccssl_tf.reporting.paper.claims import Verdict
from ccssl_tf.reporting.paper.comparison import ComparedNumber, ComparedRow, ComparedTable
from ccssl_tf.reporting.paper.results import Results
from ccssl_tf.reporting.paper.tables import COLUMN_LABELS
from ccssl_tf.reporting.text import percent


def paper_page(
    results: Results, tables: Sequence[ComparedTable], verdicts: Sequence[Verdict]
) -> str:
    """Returns the whole page, one HTML file with everything inside it.

    Args:
      results: what was measured.
      tables: of `compare`.
      verdicts: of `judge`.
    """
    sections = [
        ("paper_head", head_section(results, tables)),
        ("paper_claims", claim_section(verdicts)),
        *(("paper_table", table_section(compared)) for compared in tables),
    ]
    return render("page", page_title="The paper's tables", sections=sections)


def head_section(results: Results, tables: Sequence[ComparedTable]) -> dict:
    """Returns the data of `paper_head.html.j2`."""
    cells = [cell for one in tables for row in one.rows for cell in row.cells]
    of_paper = [cell for cell in cells if cell is not None and cell.paper is not None]
    runs = [one for by_seed in results.stages.values() for one in by_seed.values()]
    return dict(
        runs=len(runs),
        seeds=sorted({one.seed for one in runs}),
        measured=sum(cell.ours is not None for cell in of_paper),
        numbers=len(of_paper),
        commits=sorted({one.commit for one in runs if one.commit}),
        mixed=results.mixed_stages(),
    )


def claim_section(verdicts: Sequence[Verdict]) -> dict:
    """Returns the data of `paper_claims.html.j2`."""
    rows: list[list[CellLike]] = [
        [f"{verdict.number}. {verdict.name}", Cell((verdict.outcome,), strong=True)]
        for verdict in verdicts
    ]
    return dict(
        title="The claims of the paper",
        table=table(["", "our measurements"], rows),
        verdicts=verdicts,
    )


def table_section(compared: ComparedTable) -> dict:
    """Returns the data of `paper_table.html.j2`."""
    head = ["", *(COLUMN_LABELS.get(column, column) for column in compared.columns)]
    rows = [[_name(row), *map(_cell, row.cells)] for row in compared.run]
    return dict(
        title=compared.title,
        table=table(head, rows) if rows else None,
        not_run=compared.not_run,
    )


def _name(row: ComparedRow) -> Cell:
    return Cell((row.name,), () if row.in_paper else ("not in this table of the paper",))


def _cell(cell: ComparedNumber | None) -> Cell:
    if cell is None:
        return Cell(("",))
    small = [] if cell.paper is None else [f"paper {cell.paper:.1f}"]
    found = cell.ours
    if found is None:
        return Cell(("-",), tuple(small))
    seeds = len(found.values)
    spread = "" if found.spread is None else f"±{percent(found.spread)}, "
    small.append(f"{spread}{seeds} {'seed' if seeds == 1 else 'seeds'}")
    if found.standard_error is not None:
        by = "" if found.error_by == "bootstrap" else " (binomial)"
        small.append(f"s.e. {percent(found.standard_error)}{by}")
    return Cell((percent(found.mean),), tuple(small), strong=True)

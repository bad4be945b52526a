r"""The tables in LaTeX, to be read with `\input`; they need the package booktabs."""

import re
from collections.abc import Sequence

from ccssl_tf.reporting.paper.comparison import ComparedRow, ComparedTable
from ccssl_tf.reporting.paper.tables import COLUMN_LABELS

_SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
_HEAD = "% Needs \\usepackage{booktabs}.\n"
_EXPLAINED = (
    "In \\%. Ours: mean and standard deviation over seeds, below it the number of seeds and the "
    "standard error over images; a dash where there is none."
)


def as_latex(tables: Sequence[ComparedTable]) -> str:
    """Returns one `table` environment for each table of which something was run.

    Args:
      tables: of `compare`.
    """
    return _HEAD + "".join(_table(table) for table in tables if table.run)


def escaped(text: str) -> str:
    r"""Returns text as LaTeX prints it.

    >>> escaped("50% of cc_hog")
    '50\\% of cc\\_hog'
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


def _table(table: ComparedTable) -> str:
    columns = [escaped(COLUMN_LABELS.get(column, column)) for column in table.columns]
    # The document numbers its own tables.
    title = re.sub(r"^(Table \d):", r"\1 of the paper:", table.title)
    caption = f"{escaped(title)}. {_EXPLAINED}"
    if table.not_run:
        caption += f" Not run: {escaped('; '.join(table.not_run))}."
    lines = [
        "",
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:paper_{table.name}}}",
        rf"\begin{{tabular}}{{ll{'r' * len(columns)}}}",
        r"\toprule",
        _line(["", "", *columns]),
        r"\midrule",
    ]
    for position, row in enumerate(table.run):
        lines += [r"\addlinespace"] * bool(position)
        lines += _row(row)
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)


def _row(row: ComparedRow) -> list[str]:
    papers, ours, below = [], [], []
    for cell in row.cells:
        papers.append("--" if cell is None or cell.paper is None else f"{cell.paper:.1f}")
        found = None if cell is None else cell.ours
        if found is None:
            ours.append("--")
            below.append("--")
            continue
        spread = "" if found.spread is None else rf" $\pm$ {100 * found.spread:.1f}"
        ours.append(f"{100 * found.mean:.1f}{spread}")
        error = "--" if found.standard_error is None else f"{100 * found.standard_error:.1f}"
        below.append(f"{len(found.values)}; {error}")
    lines = [_line([escaped(row.name), "paper", *papers])] if row.in_paper else []
    name = "" if row.in_paper else escaped(row.name)
    return [*lines, _line([name, "ours", *ours]), _line(["", "seeds; s.e.", *below])]


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"

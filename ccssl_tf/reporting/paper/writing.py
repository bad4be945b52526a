"""Writes the page, the sheet and the LaTeX of the paper's tables."""

import pathlib
from collections.abc import Iterable

from ccssl_tf.reporting.paper.claims import Verdict, judge
from ccssl_tf.reporting.paper.comparison import compare
from ccssl_tf.reporting.paper.latex import as_latex
from ccssl_tf.reporting.paper.measurement import Measurement
from ccssl_tf.reporting.paper.results import Results
from ccssl_tf.reporting.paper.sections import paper_page
from ccssl_tf.reporting.paper.sheet import as_csv
from ccssl_tf.runs.files import write_bytes

PAGE_NAME, SHEET_NAME, LATEX_NAME = "paper.html", "paper.csv", "paper.tex"


def write_paper_report(measurements: Iterable[Measurement], output_dir) -> list[Verdict]:
    """Writes `paper.html`, `paper.csv` and `paper.tex`; the same measurements give the same bytes.

    Args:
      measurements: no two of the same stage and seed.
      output_dir: directory, made if absent.

    Returns:
      What the measurements say of the claims.
    """
    output_dir = pathlib.Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    results = Results(measurements)
    tables, verdicts = compare(results), judge(results)
    # First, because it marks the directory as a report's own, should this be killed.
    write_bytes(output_dir / SHEET_NAME, as_csv(tables).encode())
    write_bytes(output_dir / LATEX_NAME, as_latex(tables).encode())
    write_bytes(output_dir / PAGE_NAME, paper_page(results, tables, verdicts).encode())
    return verdicts

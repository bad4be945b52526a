"""The report's page: one HTML file without server and network, readable without scripts."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ccssl_tf.reporting import (
    cluster_section,
    evaluation_section,
    filter_section,
    head_section,
    probe_section,
    stage_section,
    training_section,
    transfer_section,
    usage_section,
)
from ccssl_tf.reporting.filter_section import filter_pictures
from ccssl_tf.reporting.runs import RunSet

if TYPE_CHECKING:
    import jinja2


def page(runs: RunSet, summary: dict, drawings: dict, reference: dict | None) -> str:
    """Returns the whole page.

    Args:
      runs: the runs reported on.
      summary: `summary.summarise(runs)`.
      drawings: {"probes": {task: pictures}, "curves": {task: pictures}, "students": {run:
        pictures}, "sizes": {run: pictures}}, pictures as `elements.figure` takes them.
      reference: an earlier summary whose ranges are shown beside the numbers, or None.
    """
    # Each pair is the template of a section and its data, None where there is nothing to show.
    sections: list[tuple[str, dict | None]] = [
        ("head", head_section.section(runs, summary)),
        *(
            ("probes", probe_section.section(runs, summary, task, drawings, reference))
            for task in summary["probes"]
        ),
        *(
            ("evaluation", evaluation_section.section(runs, summary, task))
            for task in summary["evaluations"]
        ),
        ("training", training_section.section(runs, summary, drawings)),
        ("clusters", cluster_section.section(runs, summary, drawings)),
        ("transfers", transfer_section.section(runs, summary, drawings)),
        ("filters", filter_section.section(filter_pictures(runs))),
        ("stages", stage_section.section(runs)),
        ("usage", usage_section.section(runs)),
    ]
    return render(
        "page",
        page_title="Knowledge transfer report",
        sections=[(name, section) for name, section in sections if section],
    )


def render(template: str, **values: Any) -> str:
    """Returns the HTML of a template, e.g. of one section; texts in the values are escaped."""
    return templates().get_template(f"{template}.html.j2").render(values)


@functools.cache
def templates() -> jinja2.Environment:
    """Returns what finds the templates and renders them."""
    # This import is here because `--help` need not wait for it.
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("ccssl_tf.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

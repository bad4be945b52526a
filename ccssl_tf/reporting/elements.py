"""Pieces of HTML: escaped text, tables, figures with their pictures inside them."""

import base64
import html
import os
import pathlib


def text(value) -> str:
    """Escapes a value for HTML."""
    return html.escape(str(value))


def table(head: list[str], rows: list[list[str]]) -> str:
    """Returns an HTML table of cells that are HTML already; the first column names the rows."""
    cells = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(
        f"<tr><th>{row[0]}</th>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>\n"
        for row in rows
    )
    table = f"<table><thead><tr>{cells}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>\n'


def data_uri(png: bytes) -> str:
    """Returns PNG bytes as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def figure(pictures, caption: str, alternative: str, kind: str = "") -> str:
    """Returns a figure.

    Args:
      pictures: PNG bytes, a path of a PNG, or {"light": bytes, "dark": bytes}.
      caption: HTML.
      alternative: text for readers who cannot see it.
      kind: CSS class.
    """
    if isinstance(pictures, os.PathLike):
        pictures = pathlib.Path(pictures).read_bytes()
    dark = ""
    if isinstance(pictures, dict):
        dark = (
            f'<source media="(prefers-color-scheme: dark)" srcset="{data_uri(pictures["dark"])}">'
        )
        pictures = pictures["light"]
    image = f'<picture>{dark}<img alt="{text(alternative)}" src="{data_uri(pictures)}"></picture>'
    return f'<figure class="{kind}">{image}<figcaption>{caption}</figcaption></figure>\n'


def percent_of(share: float) -> str:
    """Returns e.g. `34.1%`."""
    return f"{100 * share:.1f}%"


def chance_of(training: dict) -> str:
    """Returns what guessing gets right, a dash where that is unknown or the task has no accuracy:
    then its chance level is an error.
    """
    has_accuracy = any("accuracy" in training[part] for part in ("training", "evaluation"))
    return percent_of(training["chance"]) if training["chance"] and has_accuracy else "-"

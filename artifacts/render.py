"""Rendering: one report as Markdown, and that Markdown as one self-contained HTML page.

In: a Report. Out: texts. Every form comes from the same value through the same template, so that no two can differ.
"""

import html
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from artifacts import figures, tables
from artifacts.pictures import figure_url, picture_url
from tasks.analysis import Report

NAMES = ("label", "predicted")  # columns whose numbers, if they are any, are names
ACROSS = 4  # images in a row of a gallery: as many as fit beside the menu of Prefect's UI


class Parts(NamedTuple):
    """The report's parts as Markdown: what came out, the misclassified images, and where everything came from."""

    summary: str
    galleries: str
    origins: str


def parts_of(report: Report) -> Parts:
    """Render every part of a report."""
    return Parts(*(rendered(f"{part}.md.j2", report) for part in Parts._fields))


def page(markdown: str, title: str) -> str:
    """A Markdown text as one HTML page that needs no other file."""
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    return environment().get_template("page.html.j2").render(title=title, body=Markup(body))  # noqa: S704  # escaped before


def rendered(template: str, report: Report) -> str:
    """One template over one report."""
    analysis = report.analysis
    return (
        environment()
        .get_template(template)
        .render(
            report=report,
            provenance=report.provenance,
            analysis=analysis,
            tables=tables,
            figure=lambda name: figure_url(figures.FIGURES[name](analysis)),
            image=lambda index: picture_url(analysis.by_index[index], analysis.subject.shape),
            across=ACROSS,
        )
    )


@cache
def environment() -> Environment:
    """The templates, with what they call."""
    made = Environment(
        loader=PackageLoader("artifacts"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": tables.percent, "interval": tables.interval, "name": name, "table": table}
    return made


def name(text: object) -> Markup:
    """A text that users may have written, as plain Markdown: neither HTML nor Markdown in it takes effect."""
    return Markup(re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", html.escape(str(text), quote=False)))  # noqa: S704  # it is escaped here


def table(rows: Sequence[tables.Row]) -> Markup:
    """Rows as a Markdown table, numbers to the right."""
    if not rows:
        return Markup("None.")
    columns = list(rows[0])
    rule = ["---:" if str(rows[0][column])[:1].isdigit() and column not in NAMES else "---" for column in columns]
    head = [name(column) for column in columns]
    body = [[name(row[column]) for column in columns] for row in rows]
    lines: list[Sequence[str]] = [head, rule, *body]
    return Markup("\n").join(line_of(cells) for cells in lines)


def line_of(cells: Iterable[str]) -> Markup:
    """One line of a Markdown table."""
    return Markup("| {} |").format(Markup(" | ").join(Markup(cell) for cell in cells))  # noqa: S704  # escaped by `name`

"""Rendering: one report as Markdown, and the same templates as one self-contained HTML page.

In: a Report, or the Changes between two runs. Out: texts. Both forms come from the same value through the same templates; only
galleries are drawn by each form in its own way.
"""

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from artifacts.galleries import Galleries, InHtml, InMarkdown
from artifacts.networks import DrawnNetwork
from artifacts.pictures import strip_url
from artifacts.templating import environment, name
from tasks.schemas.analysis import Changes, Report
from tasks.schemas.results import Shown

MOST = 24  # images that a gallery in Markdown shows
MOST_SHOWN = 1000  # own pictures on one page: half a megabyte


NOT_DRAWN = "*This figure was left out.*"


class Parts(NamedTuple):
    """The report's parts as Markdown: what came out, a page a model, the galleries, and where everything came from."""

    overview: str
    models: dict[str, str]
    galleries: str
    origins: str

    @property
    def whole(self) -> str:
        """All of them as one text."""
        return "\n\n".join((self.overview, *self.models.values(), self.galleries, self.origins))


class Rendering:
    """One report, with its figures as data URLs by their names, and the diagrams of its models' networks.

    `place` is where its HTML page is kept.
    """

    def __init__(
        self,
        report: Report,
        figures: Mapping[str, str],
        networks: Sequence[DrawnNetwork] = (),
        place: str = "report.html",
    ) -> None:
        self.report, self.figures, self.networks, self.place = report, figures, networks, place
        self.parts = cache(self.parts_of)

    def markdown(self, most: int = MOST) -> Parts:
        """Every part as Markdown; a gallery shows up to `most` images."""
        return self.parts(most)

    def parts_of(self, most: int) -> Parts:
        """As `markdown`, drawn anew."""
        drawn = InMarkdown(self.report.analysis, most, self.place)
        pages = {
            model.name: self.rendered(
                "model.md.j2",
                drawn,
                place=self.place,
                model=model,
                networks=self.networks_beside(model.name),
                gallery=lambda rank=rank: drawn.explained_gallery(rank),
            )
            for rank, model in enumerate(self.report.analysis.models)
        }
        overview, galleries, origins = (
            self.rendered(f"{part}.md.j2", drawn, networks=(), place=self.place)
            for part in ("overview", "galleries", "origins")
        )
        return Parts(overview, pages, galleries, origins)

    def html(self, title: str) -> str:
        """The whole report as one HTML page."""
        drawn = InHtml(self.report.analysis)
        parts = [self.rendered(f"{part}.md.j2", drawn, networks=self.networks) for part in ("overview", "galleries")]
        every = len(self.report.analysis.pictures) == self.report.analysis.misclassified
        errors = f"## {'Every error' if every else 'Errors'}, explained\n\n{drawn.errors_gallery()}"
        return page("\n\n".join((*parts, errors, self.rendered("origins.md.j2", drawn))), title)

    def networks_beside(self, model: str) -> list[DrawnNetwork]:
        """The network of one model; and if it is the post's, the one that it was shrunk from."""
        own = [one for one in self.networks if one.name == model and not one.original]
        return own + [one for one in self.networks if one.original and any(other.shrunk for other in own)]

    def rendered(self, template: str, drawn: Galleries, **more: Any) -> str:
        """One template."""
        return (
            environment()
            .get_template(template)
            .render(
                {
                    "report": self.report,
                    "provenance": self.report.provenance,
                    "analysis": self.report.analysis,
                    "figure": self.figure,
                    "strip": self.strip,
                    "gallery": drawn.gallery,
                    "suspect_gallery": drawn.suspect_gallery,
                    "changed_gallery": drawn.changed_gallery,
                    "place": None,
                    **more,
                }
            )
        )

    def strip(self, several: Sequence[str], alt: str) -> Markup:
        """Images side by side, as Markdown."""
        return Markup(f"![{alt}]({strip_url(several, self.report.analysis.subject.shape)})")  # noqa: S704  # both are our own

    def figure(self, name: str, alt: str) -> Markup:
        """A figure as Markdown."""
        return figure_in(self.figures, name, alt)


def figure_in(figures: Mapping[str, str], name: str, alt: str) -> Markup:
    """A figure as Markdown, or a line in its place where it was left out."""
    return Markup(f"![{alt}]({figures[name]})" if name in figures else NOT_DRAWN)  # noqa: S704  # both are our own


def changes_page(changes: Changes, title: str) -> str:
    """What differs between two runs as one HTML page."""
    template = environment().get_template("changes.md.j2")
    text = template.render(changes=changes, changed_gallery=InHtml().changed_gallery)
    return page(f"# {name(title)}\n\n{text}", title)


def pictures_page(shown: Sequence[Shown], shape: Sequence[int], title: str) -> str:
    """A person's own pictures as the network was shown them, with what each model says, as one HTML page."""
    most = f"The first {MOST_SHOWN:,} of {len(shown):,}.\n\n" if len(shown) > MOST_SHOWN else ""
    return page(f"# {name(title)}\n\n{most}{InHtml().own_gallery(shown[:MOST_SHOWN], shape)}", title)


def page(markdown: str, title: str) -> str:
    """A Markdown text as one HTML page that needs no other file, with a table of contents."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(markdown)
    contents = numbered_headings(tokens)
    script = resources.files("artifacts").joinpath("templates/page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            contents=contents,
            body=Markup(parser.renderer.render(tokens, parser.options, {})),  # noqa: S704  # escaped before
            script=Markup(script),  # noqa: S704  # our own
            script_hash=f"sha256-{digest}",
        )
    )


def numbered_headings(tokens: list[Token]) -> list[tuple[str, str]]:
    """Give every heading of the second rank an id; the ids and the texts, in order."""
    contents: list[tuple[str, str]] = []
    for opened, inline in pairwise(tokens):
        if opened.type == "heading_open" and opened.tag == "h2":
            identity = f"part-{len(contents) + 1}"
            opened.attrSet("id", identity)
            contents.append((identity, html.unescape(re.sub(r"\\(.)", r"\1", inline.content))))
    return contents

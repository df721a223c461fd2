"""Rendering: one report as Markdown, and the same templates as one self-contained HTML page.

In: a Report, or the Changes between two runs. Out: texts. Both forms come from the same value through the same templates; only
galleries are drawn by each form in its own way.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from markupsafe import Markup

from artifacts.common.html_page import figure_in, page
from artifacts.common.images import strip_url
from artifacts.common.templating import markdown_name, template_environment
from artifacts.diagram.networks import DrawnNetwork
from artifacts.report import tables
from artifacts.report import text as words
from artifacts.report.galleries import Galleries, InHtml, InMarkdown
from artifacts.report.highlights import standouts
from tasks.schemas.analysis import Changes, Report
from tasks.schemas.results import ClassifiedPicture

MOST_IMAGES = 24  # images that a gallery in Markdown shows
_MOST_SHOWN = 1000  # own pictures on one page: half a megabyte


class MarkdownParts(NamedTuple):
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

    def markdown(self, most: int = MOST_IMAGES) -> MarkdownParts:
        """Every part as Markdown; a gallery shows up to `most` images."""
        return self.parts(most)

    def parts_of(self, most: int) -> MarkdownParts:
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
        return MarkdownParts(overview, pages, galleries, origins)

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
            template_environment()
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
                    "tables": tables,
                    "words": words,
                    "standouts": standouts,
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


def changes_page(changes: Changes, title: str) -> str:
    """What differs between two runs as one HTML page."""
    template = template_environment().get_template("changes.md.j2")
    text = template.render(changes=changes, changed_gallery=InHtml().changed_gallery, tables=tables, words=words)
    return page(f"# {markdown_name(title)}\n\n{text}", title)


def pictures_page(shown: Sequence[ClassifiedPicture], shape: Sequence[int], title: str) -> str:
    """A person's own pictures as the network was shown them, with what each model says, as one HTML page."""
    most = f"The first {_MOST_SHOWN:,} of {len(shown):,}.\n\n" if len(shown) > _MOST_SHOWN else ""
    return page(f"# {markdown_name(title)}\n\n{most}{InHtml().own_gallery(shown[:_MOST_SHOWN], shape)}", title)

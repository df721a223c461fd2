"""Rendering of a report as Markdown and as one self-contained HTML page.

Both forms come from the same Report, or the same Changes between two runs, through the same templates. Only the
galleries differ.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import ClassVar, NamedTuple

from artifacts.common.formatting import counted
from artifacts.common.html_page import page
from artifacts.common.rendering import DocumentRendering, MarkdownArtifacts
from artifacts.common.templating import markdown_name, template_environment
from artifacts.diagram.networks import DrawnNetwork
from artifacts.report import tables
from artifacts.report import text as words
from artifacts.report.galleries import InHtml, InMarkdown
from artifacts.report.highlights import standouts
from tasks.schemas.analysis import Changes, Report
from tasks.schemas.results import MOST_SHOWN, PredictResult


class MarkdownParts(NamedTuple):
    """Parts of the report as Markdown: the overview, one page for each model, the galleries, and the provenance."""

    overview: str
    models: dict[str, str]
    galleries: str
    provenance: str


class Rendering(DocumentRendering[Report]):
    """Renderer of one report with its figures and the diagrams of its networks."""

    max_images = 24
    names: ClassVar = {"tables": tables, "words": words, "standouts": standouts}

    def __init__(
        self,
        report: Report,
        figures: Mapping[str, str],
        networks: Sequence[DrawnNetwork] = (),
        place: str = "report.html",
    ) -> None:
        super().__init__(report, report.provenance, figures, report.omitted, place)
        self.networks = networks
        self.parts = cache(self.parts_of)

    def pages(self, max_images: int) -> MarkdownArtifacts:
        """Return the results with their provenance, one page for each model, and the galleries."""
        parts = self.parts(max_images)
        models = {
            f"model-{name.replace('_', '-')}": (f"Network diagram and explained errors of {name}", text)
            for name, text in parts.models.items()
        }
        return {
            "report": ("Results of the error analysis", f"{parts.overview}\n\n{parts.provenance}"),
            **models,
            "galleries": ("Misclassified images", parts.galleries),
        }

    def markdown(self) -> str:
        """Return all parts as one text."""
        parts = self.parts(self.max_images)
        return "\n\n".join((parts.overview, *parts.models.values(), parts.galleries, parts.provenance))

    def parts_of(self, max_images: int = max_images) -> MarkdownParts:
        """Render every part as Markdown with up to `max_images` images per gallery; `parts` caches the result."""
        drawn = InMarkdown(self.document.analysis, max_images, self.place)
        pages = {
            model.name: self.render(
                "model.md.j2",
                drawn=drawn,
                place=self.place,
                model=model,
                rank=rank,
                networks=self.networks_beside(model.name),
            )
            for rank, model in enumerate(self.document.analysis.models)
        }
        overview, galleries, provenance = (
            self.render(f"{part}.md.j2", drawn=drawn, networks=(), place=self.place)
            for part in ("overview", "galleries", "data_provenance")
        )
        return MarkdownParts(overview, pages, galleries, provenance)

    def page_text(self) -> str:
        """Return the Markdown of the HTML page, with galleries in HTML."""
        drawn = InHtml(self.document.analysis)
        parts = ("overview", "galleries", "errors", "data_provenance")
        return "\n\n".join(self.render(f"{part}.md.j2", drawn=drawn, networks=self.networks) for part in parts)

    def networks_beside(self, model: str) -> list[DrawnNetwork]:
        """Return the network of a model and, if it is the post's, VGG-16, from which the post's network was derived."""
        own = [one for one in self.networks if one.name == model and not one.original]
        return own + [one for one in self.networks if one.original and any(other.shrunk for other in own)]


def changes_text(changes: Changes, drawn: InMarkdown | type[InHtml] = InHtml) -> str:
    """Return the differences between two runs as Markdown, with galleries in the given form."""
    template = template_environment().get_template("changes.md.j2")
    return template.render(changes=changes, drawn=drawn, tables=tables, words=words)


def changes_page(changes: Changes, title: str) -> str:
    """Return the differences between two runs as one HTML page."""
    return page(f"# {markdown_name(title)}\n\n{changes_text(changes)}", title)


def pictures_page(result: PredictResult, shape: Sequence[int]) -> str:
    """Return a user's own images, what the network received of them, and each model's prediction, as one HTML page."""
    title = f"{counted(len(result.pictures), 'image')}, classified by {result.run}"
    template = template_environment().get_template("predictions.md.j2")
    gallery = InHtml.own_gallery(result.pictures[:MOST_SHOWN], shape)
    return page(template.render(result=result, title=title, gallery=gallery, most=MOST_SHOWN, words=words), title)

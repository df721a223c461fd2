"""Render a document with its figures: the part that the report of a run and the report of a study share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from markupsafe import Markup

from artifacts.common.html_page import page
from artifacts.common.templating import template_environment
from tasks.base import Frozen
from tasks.schemas.analysis import Provenance
from tasks.schemas.records import Omission

NOT_DRAWN = "*This figure was left out.*"
_POST = (
    "The post is the 2018 blog post that trained a seven-layer, VGG-like network on MNIST, with and without batch "
    "normalization."
)

Document = TypeVar("Document", bound=Frozen)
MarkdownArtifacts = dict[str, tuple[str, str]]  # description and Markdown by key


class DocumentRendering(ABC, Generic[Document]):
    """Renderer of one document as Markdown, and with the same templates as one self-contained HTML page.

    A subclass supplies the templates. `figures` holds data URLs by name. `place` is the path of the HTML page, to which
    the Markdown refers.
    """

    max_images: ClassVar[int]  # images that a gallery in Markdown shows
    names: ClassVar[Mapping[str, Any]]  # tables and sentences that the templates use

    def __init__(
        self,
        document: Document,
        provenance: Provenance,
        figures: Mapping[str, str],
        omitted: Sequence[Omission] = (),
        place: str = "report.html",
    ) -> None:
        self.document, self.provenance, self.figures = document, provenance, figures
        self.omitted, self.place = tuple(omitted), place

    @abstractmethod
    def pages(self, max_images: int) -> MarkdownArtifacts:
        """Return the pages for Prefect's UI, with at most `max_images` images per gallery."""

    @abstractmethod
    def markdown(self) -> str:
        """Return the whole document as Markdown."""

    @abstractmethod
    def page_text(self) -> str:
        """Return the Markdown of the HTML page, with galleries in HTML."""

    def html(self, title: str) -> str:
        """Return the whole document as one HTML page."""
        return page(self.page_text(), title)

    def render(self, template: str, **more: Any) -> str:
        """Render a template."""
        return template_environment().get_template(template).render({
            **self.names,
            "document": self.document,
            "provenance": self.provenance,
            "failed_mirrors": _failed_mirrors(self.provenance),
            "omitted": self.omitted,
            "figure": self.figure,
            "place": None,
            "post": _POST,
            **more,
        })  # fmt: skip

    def figure(self, name: str, alt: str) -> Markup:
        """Return a figure as a Markdown image, or a placeholder if the figure was left out."""
        return Markup(f"![{alt}]({self.figures[name]})" if name in self.figures else NOT_DRAWN)  # noqa: S704  # not user input


def _failed_mirrors(provenance: Provenance) -> dict[str, list[str]]:
    """Return the reasons why mirrors were skipped, each with the names of the archives that it applies to."""
    reasons: dict[str, list[str]] = {}
    for archive in provenance.archives:
        for reason in archive.failed_mirrors:
            reasons.setdefault(reason, []).append(archive.name)
    return reasons

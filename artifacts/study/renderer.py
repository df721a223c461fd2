"""Render one study as Markdown, and with the same template as one self-contained HTML page."""

from collections.abc import Mapping, Sequence

from artifacts.common.formatting import FEW, counted
from artifacts.common.galleries import cards, counted_table, image_element, label_line
from artifacts.common.rendering import DocumentRendering, MarkdownArtifacts
from artifacts.common.templating import markdown_name
from artifacts.study import tables, text
from tasks.schemas.analysis import Provenance
from tasks.schemas.records import Omission
from tasks.schemas.study import Hard, Study

_FIRST = 24  # images that the gallery shows before it is opened


class StudyRendering(DocumentRendering):
    """Renderer of one study with its provenance, its figures and its omissions.

    Args:
        study: The study.
        provenance: The provenance of the study.
        figures: The figures as data URLs, by name.
        omitted: The optional parts that were left out.
        place: The path of the HTML page, which the Markdown refers to.
    """

    most_images = 12

    def __init__(
        self,
        study: Study,
        provenance: Provenance,
        figures: Mapping[str, str],
        omitted: Sequence[Omission] = (),
        place: str = "report.html",
    ) -> None:
        super().__init__(study, provenance, figures, omitted, place, study=study, tables=tables, words=text)
        self.study = study

    def pages(self, most: int) -> MarkdownArtifacts:
        """Return the whole study as one page."""
        return {"study": ("Results of the study", self.markdown(most))}

    def markdown(self, most: int = most_images) -> str:
        """Return the study as Markdown, with up to `most` images."""
        study, shown = self.study, self.study.hard[:most]
        return self.rendered(
            "study.md.j2",
            gallery=lambda: counted_table(
                [self.cell(one) for one in shown], len(study.hard), study.wrong_twice, self.place
            ),
            place=self.place,
        )

    def page_text(self) -> str:
        """Return the Markdown of the HTML page, with all images."""
        study = self.study
        pairs = [(one, self.counts(one)) for one in study.hard]
        return self.rendered(
            "study.md.j2",
            gallery=lambda: cards(
                "study_cards.html.j2", "stubborn", pairs, _FIRST, study.wrong_twice, study.classes, shape=study.shape
            ),
        )

    def cell(self, one: Hard) -> tuple[str, str]:
        """Return the Markdown of one image, and a caption that says how often it is misclassified."""
        classes, picture = self.study.classes, one.picture
        lines = [
            label_line(picture.number, classes[picture.label]),
            f"most often predicted: **{markdown_name(classes[one.taken_for])}**",
            *(markdown_name(line) for line in self.counts(one)),
        ]
        image = image_element(picture.pixels, self.study.shape, picture.number, classes[picture.label])
        return image, "<br>".join(lines)

    def counts(self, one: Hard) -> list[str]:
        """Return how often an image is misclassified: by each arm if there are few, otherwise in total."""
        study = self.study
        if len(study.arms) > FEW:
            return [f"misclassified by {sum(one.wrong)} of {len(study.arms) * len(study.seeds)} trainings"]
        return [
            f"{arm.name}: {count} of {counted(len(study.seeds), 'seed')} wrong"
            for arm, count in zip(study.arms, one.wrong, strict=True)
        ]

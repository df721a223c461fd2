"""Render one study as Markdown, and with the same template as one self-contained HTML page."""

from typing import ClassVar

from artifacts.common.formatting import FEW, counted
from artifacts.common.galleries import caption_image, cards, image_table
from artifacts.common.rendering import DocumentRendering, MarkdownArtifacts
from artifacts.common.templating import markdown_name
from artifacts.study import tables, text
from tasks.schemas.study import HardImage, Study

_FIRST = 24  # images that the gallery shows before it is opened


class StudyRendering(DocumentRendering[Study]):
    """Renderer of one study."""

    max_images = 12
    names: ClassVar = {"tables": tables, "words": text}

    def pages(self, max_images: int) -> MarkdownArtifacts:
        """Return the whole study as one page."""
        return {"study": ("Results of the study", self.markdown(max_images))}

    def markdown(self, max_images: int = max_images) -> str:
        """Return the study as Markdown, with up to `max_images` images."""
        study = self.document
        cells = [self.cell(one) for one in study.hard[:max_images]]
        gallery = image_table(cells, len(study.hard), study.wrong_twice, self.place)
        return self.render("study.md.j2", gallery=gallery, place=self.place)

    def page_text(self) -> str:
        """Return the Markdown of the HTML page, with all images."""
        study = self.document
        pairs = [(one, self.counts(one)) for one in study.hard]
        arguments = "hard_images", pairs, _FIRST, study.wrong_twice, study.classes
        return self.render("study.md.j2", gallery=cards("study_cards.html.j2", *arguments, shape=study.shape))

    def cell(self, one: HardImage) -> tuple[str, str]:
        """Return the Markdown of one image, and a caption that says how often it is misclassified."""
        classes, picture = self.document.classes, one.picture
        lines = (
            f"most often predicted: **{markdown_name(classes[one.predicted])}**",
            *map(markdown_name, self.counts(one)),
        )
        return caption_image(picture.pixels, self.document.shape, picture.number, classes[picture.label], lines)

    def counts(self, one: HardImage) -> list[str]:
        """Return how often an image is misclassified: by each arm if there are few, otherwise in total."""
        study = self.document
        if len(study.arms) > FEW:
            return [f"misclassified by {sum(one.wrong)} of {len(study.arms) * study.trainings} trainings"]
        return [
            f"{arm.name}: {count} of {counted(study.trainings, 'training')} wrong"
            for arm, count in zip(study.arms, one.wrong, strict=True)
        ]

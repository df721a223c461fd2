"""Render one study as Markdown, and with the same template as one self-contained HTML page."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from markupsafe import Markup

from artifacts.common.formatting import FEW, counted
from artifacts.common.html_page import figure_in, page
from artifacts.common.images import picture_url, shown_at
from artifacts.common.templating import markdown_name, plain, template_environment
from artifacts.report import tables
from artifacts.report.galleries import InHtml, counted_table
from artifacts.report.text import POST
from artifacts.study import tables as study_tables
from artifacts.study import text
from tasks.schemas.analysis import Provenance
from tasks.schemas.records import Omission
from tasks.schemas.study import Hard, Study

_SHOWN_IN_UI = 12  # images, so that the artifact is small enough for Prefect's database


class StudyRendering:
    """A study to render, with its provenance, its figures and its omissions.

    Args:
        study: The study.
        provenance: The provenance of the study.
        figures: The figures as data URLs, by name.
        omitted: The optional parts that were left out.
        place: The path of the HTML page, which the Markdown refers to.
    """

    def __init__(
        self,
        study: Study,
        provenance: Provenance,
        figures: Mapping[str, str],
        omitted: Sequence[Omission] = (),
        place: str = "report.html",
    ) -> None:
        self.study, self.provenance, self.figures, self.omitted, self.place = study, provenance, figures, omitted, place

    def markdown(self, most: int = _SHOWN_IN_UI) -> str:
        """Return the report as Markdown, with up to `most` images."""
        study, shown = self.study, self.study.hard[:most]
        return self.rendered(
            lambda: counted_table([self.cell(one) for one in shown], len(study.hard), study.wrong_twice, self.place),
            self.place,
        )

    def html(self, title: str) -> str:
        """Return the report as one HTML page, with all images."""
        study = self.study
        pairs = [(one, self.counts(one)) for one in study.hard]
        return page(
            self.rendered(lambda: InHtml().stubborn_gallery(pairs, study.wrong_twice, study.classes, study.shape)),
            title,
        )

    def rendered(self, gallery: Callable[[], Markup], place: str | None = None) -> str:
        """Return the rendered template, with the gallery that `gallery` returns."""
        return template_environment().get_template("study.md.j2").render(
            study=self.study,
            provenance=self.provenance,
            omitted=self.omitted,
            tables=tables,
            tables_of=study_tables,
            says=text,
            post=POST,
            figure=partial(figure_in, self.figures),
            gallery=gallery,
            place=place,
        )  # fmt: skip

    def cell(self, one: Hard) -> tuple[str, str]:
        """Return the Markdown of one image, and a caption that says how often it is misclassified."""
        study, picture = self.study, one.picture
        alt = plain(f"test image {picture.number}, labeled {study.classes[picture.label]}")
        image = f'<img width="{shown_at(study.shape)[1]}" alt="{alt}" src="{picture_url(picture.pixels, study.shape)}">'
        lines = [f"#{picture.number}, label **{markdown_name(study.classes[picture.label])}**"]
        lines.append(f"most often predicted: **{markdown_name(study.classes[one.taken_for])}**")
        lines += [markdown_name(line) for line in self.counts(one)]
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

"""Study: one study as Markdown, and the same template as one self-contained HTML page."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from artifacts import study_tables, study_words
from artifacts.galleries import ACROSS
from artifacts.pictures import picture_url, shown_at
from artifacts.render import NOT_DRAWN, page
from artifacts.templating import environment, name, picture_table, plain
from artifacts.words import FEW
from tasks.analysis import Provenance
from tasks.records import Omission
from tasks.seeds import Hard, Study

SHOWN_IN_UI = 12  # images: the artifact stays small enough for Prefect's database


class StudyRendering:
    """One study, with its figures as data URLs by their names, and what the study left out."""

    def __init__(
        self, study: Study, provenance: Provenance, figures: Mapping[str, str], omitted: Sequence[Omission] = ()
    ) -> None:
        self.study, self.provenance, self.figures, self.omitted = study, provenance, figures, omitted

    def markdown(self, most: int = SHOWN_IN_UI) -> str:
        """The report as Markdown, with up to `most` images."""
        return environment().get_template("study.md.j2").render(
            study=self.study,
            provenance=self.provenance,
            omitted=self.omitted,
            tables_of=study_tables,
            says=study_words,
            figure=self.figure,
            gallery=lambda: picture_table([self.cell(one) for one in self.study.hard[:most]], ACROSS),
        )  # fmt: skip

    def figure(self, key: str, alt: str) -> Markup:
        """A figure as Markdown, or a line in its place where it was left out."""
        return Markup(f"![{alt}]({self.figures[key]})" if key in self.figures else NOT_DRAWN)  # noqa: S704  # both are our own

    def html(self, title: str) -> str:
        """The report as one HTML page, with all its images."""
        return page(self.markdown(len(self.study.hard)), title)

    def cell(self, one: Hard) -> tuple[str, str]:
        """One image over how often it is taken wrongly."""
        study, picture = self.study, one.picture
        alt = plain(f"test image {picture.number}")
        image = f'<img width="{shown_at(study.shape)[1]}" alt="{alt}" src="{picture_url(picture.pixels, study.shape)}">'
        lines = [f"#{picture.number}, label **{name(study.classes[picture.label])}**"]
        lines.append(f"taken for **{name(study.classes[one.taken_for])}**")
        if len(study.arms) > FEW:
            lines.append(f"wrong in {sum(one.wrong)} of {len(study.arms) * len(study.seeds)} trainings")
        else:
            for arm, count in zip(study.arms, one.wrong, strict=True):
                lines.append(f"{name(arm.name)}: wrong {count} of {len(study.seeds)}")
        return image, "<br>".join(lines)

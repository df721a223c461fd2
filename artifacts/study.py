"""Study: one study as Markdown, and the same template as one self-contained HTML page."""

from functools import cached_property

from markupsafe import Markup

from artifacts import study_tables, study_words
from artifacts.figures import figure_url
from artifacts.galleries import ACROSS
from artifacts.pictures import picture_url, shown_at
from artifacts.render import page
from artifacts.study_figures import drawn
from artifacts.templating import environment, name, picture_table, plain
from artifacts.words import FEW
from tasks.analysis import Provenance
from tasks.seeds import Hard, Study

SHOWN_IN_UI = 12  # images: the artifact stays small enough for Prefect's database


class StudyRendering:
    """One study."""

    def __init__(self, study: Study, provenance: Provenance) -> None:
        self.study, self.provenance = study, provenance

    @cached_property
    def figures(self) -> dict[str, str]:
        """Every figure as a data URL."""
        return {key: figure_url(figure) for key, figure in drawn(self.study).items()}

    def markdown(self, most: int = SHOWN_IN_UI) -> str:
        """The report as Markdown, with up to `most` images."""
        return environment().get_template("study.md.j2").render(
            study=self.study,
            provenance=self.provenance,
            tables_of=study_tables,
            says=study_words,
            figure=lambda key, alt: Markup(f"![{alt}]({self.figures[key]})"),  # noqa: S704  # both are our own
            gallery=lambda: picture_table([self.cell(one) for one in self.study.hard[:most]], ACROSS),
        )  # fmt: skip

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

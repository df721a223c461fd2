"""Image galleries, as Markdown for Prefect's UI and as HTML for the report page.

They show images of an Analysis, of a study, of the Changes between two runs, or of a user. Markdown galleries are
tables of enlarged images; HTML galleries contain small images that the page enlarges.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from markupsafe import Markup

from artifacts.common.images import explained_url, heat_url, picture_url, shown_at, strip_url
from artifacts.common.templating import markdown_name, picture_table, plain, template_environment
from artifacts.report import text
from tasks.schemas.analysis import Analysis, Changed
from tasks.schemas.findings import LabelIssues, Picture
from tasks.schemas.results import ClassifiedPicture
from tasks.schemas.study import Hard

_FIRST, _FIRST_SUSPECTS = 12, 24  # images that a gallery shows before it is opened


class Galleries(Protocol):
    """Interface of the galleries that the templates can draw."""

    def gallery(self, indices: Sequence[int], total: int) -> Markup:
        """Return test images with every model's prediction.

        Args:
            indices: Indices of the images in the test split.
            total: Number of images, including those that are not shown.
        """

    def suspect_gallery(self, found: LabelIssues) -> Markup:
        """Return images whose label may be wrong."""

    def changed_gallery(
        self, shown: Sequence[Changed], total: int, classes: Sequence[str], shape: Sequence[int]
    ) -> Markup:
        """Return images that only one of two runs got right.

        Args:
            shown: The images.
            total: Number of images, including those that are not shown.
            classes: Names of the classes.
            shape: Shape of an image.
        """


class InMarkdown:
    """Galleries in Markdown.

    Each gallery shows up to `most` images, states the total, and says in which file the other images are.
    """

    def __init__(self, analysis: Analysis, most: int, place: str) -> None:
        self.analysis, self.most, self.place = analysis, most, place
        self.classes, self.shape = analysis.subject.classes, analysis.subject.shape
        self.names = [model.name for model in analysis.models]

    def image(self, pixels: str, alt: str) -> str:
        """Return an `<img>` element with an enlarged image."""
        return f'<img width="{shown_at(self.shape)[1]}" alt="{plain(alt)}" src="{picture_url(pixels, self.shape)}">'

    def cell(self, picture: Picture, split: str = "test") -> tuple[str, str]:
        """Return an image and its caption."""
        return self.image(
            picture.pixels, f"{split} image {picture.number}, labeled {self.classes[picture.label]}"
        ), self.caption(picture)

    def caption(self, picture: Picture) -> str:
        """Return the label of an image and the models' predictions, with the wrong ones in bold."""
        lines = [f"#{picture.number}, label **{markdown_name(self.classes[picture.label])}**"]
        for model, answer in zip(self.names, picture.answers, strict=True):
            said = markdown_name(text.answer_said(answer, picture.label, self.classes))
            lines.append(f"{markdown_name(model)}: {said if answer.predicted == picture.label else f'**{said}**'}")
        return "<br>".join(lines)

    def gallery(self, indices: Sequence[int], total: int) -> Markup:
        """Return test images with every model's prediction; `total` includes images that are not shown."""
        cells = [self.cell(self.analysis.by_index[index]) for index in indices[: min(self.most, _FIRST)]]
        return counted_table(cells, len(indices), total, self.place)

    def suspect_gallery(self, found: LabelIssues) -> Markup:
        """Return images whose label may be wrong."""
        known = self.analysis.by_index if found.split == "test" else self.analysis.trained_by_index
        cells = []
        for suspect in found.shown[: min(self.most, _FIRST_SUSPECTS)]:
            image, caption = self.cell(known[suspect.index], found.split)
            cells.append((image, "<br>".join((caption, *text.suspected(suspect).split("; ")))))
        return counted_table(cells, len(found.shown), found.by_either, self.place)

    def changed_gallery(
        self,
        shown: Sequence[Changed],
        total: int,
        classes: Sequence[str],
        shape: Sequence[int],  # noqa: ARG002
    ) -> Markup:
        """Return images that only one of two runs got right; `total` includes images that are not shown."""
        cells = [
            (
                self.image(one.pixels, f"test image {one.index}, labeled {classes[one.label]}"),
                "<br>".join(
                    (
                        f"#{one.index}, label **{markdown_name(classes[one.label])}**",
                        f"before: {markdown_name(text.answer_said(one.before, one.label, tuple(classes)))}",
                        f"now: {markdown_name(text.answer_said(one.now, one.label, tuple(classes)))}",
                    )
                ),
            )
            for one in shown[: min(self.most, _FIRST)]
        ]
        return counted_table(cells, len(shown), total, self.place)

    def explained_gallery(self, rank: int) -> Markup:
        """Return the most confident errors of a model, each with its explanation."""
        found = [(p, p.answers[rank]) for p in self.analysis.pictures if p.answers[rank].explanation]
        confident = sorted(found, key=lambda one: -one[1].probability)[: self.most]
        shown = [self.explained(picture, rank) for picture, _ in confident]
        count = text.count_noun(len(confident), len(found), self.analysis.models[rank].errors, self.place)
        return Markup("\n\n").join([*shown, markdown_name(count)] if shown else [Markup("None.")])

    def explained(self, picture: Picture, rank: int) -> Markup:
        """Return an error of a model with its heat map, its nearest training images, and a description."""
        explanation = picture.answers[rank].explanation
        assert explanation  # noqa: S101  # only explained answers are passed
        near = [self.analysis.trained_by_index[one.index].pixels for one in explanation.neighbors]
        pictures = (
            f'<img alt="test image {picture.number} and its heat map" '
            f'src="{explained_url(picture.pixels, explanation, self.shape)}"> '
            f'<img alt="the nearest training images" src="{strip_url(near, self.shape)}">'
        )
        label = self.classes[picture.label]
        patch = markdown_name(text.patch_said(explanation, label, min(self.shape[:2]) // 2))
        said = (
            f"{self.caption(picture)}<br>{patch}; {markdown_name(text.describe_neighbors(explanation, self.classes))}"
        )
        return Markup(f"{pictures}\n\n{said}")  # noqa: S704  # escaped by `markdown_name`


class InHtml:
    """Galleries in HTML; the images are small, and the page enlarges them."""

    def __init__(self, analysis: Analysis | None = None) -> None:
        self.analysis = analysis

    @cached_property
    def known(self) -> Analysis:
        """Analysis whose images the galleries show."""
        assert self.analysis  # noqa: S101  # only galleries of an analysis use it
        return self.analysis

    def drawn(self, macro: str, *arguments: object, shape: Sequence[int]) -> Markup:
        """Return the output of a macro of the card template as one line.

        A blank line would end the HTML within Markdown.
        """
        # Not `get_template(..., globals=...)`: Jinja caches the first module, which holds the first shape.
        cards = template_environment().get_template("cards.html.j2").make_module({
            "tiny": lambda pixels: picture_url(pixels, tuple(shape), 1),
            "heat": lambda heat: heat_url(heat, shape, 1),
            "wide": shown_at(shape)[1],
            "high": shown_at(shape)[0],
            "words": text,
        })  # fmt: skip
        return Markup(" ".join(str(getattr(cards, macro)(*arguments)).split()))  # noqa: S704  # escaped by Jinja

    def of_analysis(self, macro: str, *arguments: object) -> Markup:
        """Return the output of a macro that shows images of the analysis."""
        names = [model.name for model in self.known.models]
        subject = self.known.subject
        return self.drawn(macro, *arguments, names, subject.classes, shape=subject.shape)

    def gallery(self, indices: Sequence[int], total: int) -> Markup:
        """Return test images with every model's prediction, each linked to its details.

        `total` includes images that are not shown.
        """
        return self.of_analysis("gallery", [self.known.by_index[index] for index in indices], _FIRST, total)

    def suspect_gallery(self, found: LabelIssues) -> Markup:
        """Return images whose label may be wrong."""
        pictures = self.known.by_index if found.split == "test" else self.known.trained_by_index
        pairs = [(pictures[suspect.index], text.suspected(suspect)) for suspect in found.shown]
        return self.of_analysis("suspects", pairs, found.split, _FIRST_SUSPECTS, found.by_either)

    def changed_gallery(
        self, shown: Sequence[Changed], total: int, classes: Sequence[str], shape: Sequence[int]
    ) -> Markup:
        """Return images that only one of two runs got right; `total` includes images that are not shown."""
        return self.drawn("changed", shown, _FIRST, total, tuple(classes), shape=shape)

    def stubborn_gallery(
        self, pairs: Sequence[tuple[Hard, Sequence[str]]], total: int, classes: Sequence[str], shape: Sequence[int]
    ) -> Markup:
        """Return images that most trainings of a study misclassify, with the counts.

        `total` includes images that are not shown.
        """
        return self.drawn("stubborn", pairs, _FIRST_SUSPECTS, total, tuple(classes), shape=shape)

    def own_gallery(self, shown: Sequence[ClassifiedPicture], shape: Sequence[int]) -> Markup:
        """Return a user's own images as the network received them."""
        titles = ["; doubtful: ".join((Path(one.path).name, *one.doubts)) for one in shown]
        return self.drawn("own", list(zip(titles, shown, strict=True)), shape=shape)

    def errors_gallery(self) -> Markup:
        """Return every selected error, with its explanation and the attributes that a reader can filter by."""
        wrong = {picture.index: _wrong_answers(picture) for picture in self.known.pictures}
        return self.of_analysis("errors", self.known, wrong)


def counted_table(cells: Sequence[tuple[str, str]], held: int, total: int, place: str) -> Markup:
    """Return images as a Markdown table, followed by the number of images shown and the total."""
    count = (
        Markup("\n\n{}").format(markdown_name(text.count_noun(len(cells), held, total, place)))
        if len(cells) < total
        else ""
    )
    return picture_table(cells) + count


def _wrong_answers(picture: Picture) -> str:
    """Return the wrong predictions for an image as JSON: pairs of the model's position and the predicted class."""
    pairs = [
        (str(rank), str(answer.predicted))
        for rank, answer in enumerate(picture.answers)
        if answer.predicted != picture.label
    ]
    return json.dumps(pairs)

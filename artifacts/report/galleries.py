"""Image galleries of an Analysis, of the Changes between two runs, or of a user's images, as Markdown and as HTML."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from artifacts.common.galleries import caption_image, cards, count_noun, image_table
from artifacts.common.images import explained_url, strip_url
from artifacts.common.templating import markdown_name
from artifacts.report import text
from tasks.schemas.analysis import Analysis, Changed
from tasks.schemas.findings import LabelIssues, Picture
from tasks.schemas.results import ClassifiedPicture

_FIRST, _FIRST_LABEL_ISSUES = 12, 24  # images that a gallery shows before it is opened


class _Galleries:
    """Galleries that show the images of an analysis; their totals include images that are not shown."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.classes, self.shape = analysis.subject.classes, analysis.subject.shape
        self.names = [model.name for model in analysis.models]

    def pictures_of(self, split: str) -> Mapping[int, Picture]:
        """Return the images of a split by their index."""
        return self.analysis.by_index if split == "test" else self.analysis.training_by_index

    def strip(self, several: Sequence[str], alt: str) -> Markup:
        """Return images side by side as one Markdown image."""
        return Markup(f"![{alt}]({strip_url(several, self.shape)})")  # noqa: S704  # no user text


class InMarkdown(_Galleries):
    """Galleries in Markdown.

    Each gallery shows up to `max_images` images, states the total, and says in which file the other images are.
    """

    def __init__(self, analysis: Analysis, max_images: int, place: str) -> None:
        super().__init__(analysis)
        self.max_images, self.place = max_images, place

    def cell(self, picture: Picture, split: str = "test") -> tuple[str, str]:
        """Return an image and its caption: its label and the models' predictions, with the wrong ones in bold."""
        lines = []
        for model, answer in zip(self.names, picture.answers, strict=True):
            line = markdown_name(text.describe_answer(answer, picture.label, self.classes))
            lines.append(f"{markdown_name(model)}: {line if answer.predicted == picture.label else f'**{line}**'}")
        label = self.classes[picture.label]
        return caption_image(picture.pixels, self.shape, picture.number, label, lines, split)

    def gallery(self, indices: Sequence[int], total: int) -> Markup:
        """Return test images with every model's prediction."""
        cells = [self.cell(self.analysis.by_index[index]) for index in indices[: min(self.max_images, _FIRST)]]
        return image_table(cells, len(indices), total, self.place)

    def label_issue_gallery(self, found: LabelIssues) -> Markup:
        """Return images whose label may be wrong."""
        known, cells = self.pictures_of(found.split), []
        for issue in found.shown[: min(self.max_images, _FIRST_LABEL_ISSUES)]:
            image, caption = self.cell(known[issue.index], found.split)
            cells.append((image, "<br>".join((caption, *text.describe_label_issue(issue).split("; ")))))
        return image_table(cells, len(found.shown), found.by_either, self.place)

    def changed_gallery(
        self, shown: Sequence[Changed], total: int, titles: Sequence[str], classes: Sequence[str], shape: Sequence[int]
    ) -> Markup:
        """Return images that only one of two models got right; the `titles` name the models."""
        cells = []
        for one in shown[: min(self.max_images, _FIRST)]:
            lines = [
                f"{markdown_name(title)}: {markdown_name(text.describe_answer(answer, one.label, tuple(classes)))}"
                for title, answer in zip(titles, (one.before, one.now), strict=True)
            ]
            cells.append(caption_image(one.pixels, shape, one.index, classes[one.label], lines))
        return image_table(cells, len(shown), total, self.place)

    def explained_gallery(self, rank: int) -> Markup:
        """Return the most confident errors of a model, each with its explanation."""
        found = [(p, p.answers[rank]) for p in self.analysis.pictures if p.answers[rank].explanation]
        confident = sorted(found, key=lambda one: -one[1].probability)[: self.max_images]
        shown = [self.explain_error(picture, rank) for picture, _ in confident]
        count = count_noun(len(confident), len(found), self.analysis.models[rank].errors, self.place)
        return Markup("\n\n").join([*shown, markdown_name(count)] if shown else [Markup("None.")])

    def explain_error(self, picture: Picture, rank: int) -> Markup:
        """Return an error of a model with its heat map, its nearest training images, and a description."""
        explanation = picture.answers[rank].explanation
        assert explanation  # noqa: S101  # only explained answers are passed
        near = [self.analysis.training_by_index[one.index].pixels for one in explanation.neighbors]
        pictures = (
            f'<img alt="test image {picture.number} and its heat map" '
            f'src="{explained_url(picture.pixels, explanation, self.shape)}"> '
            f'<img alt="the nearest training images" src="{strip_url(near, self.shape)}">'
        )
        label = self.classes[picture.label]
        patch = markdown_name(text.describe_patch(explanation, label, min(self.shape[:2]) // 2))
        _, caption = self.cell(picture)
        description = f"{caption}<br>{patch}; {markdown_name(text.describe_neighbors(explanation, self.classes))}"
        return Markup(f"{pictures}\n\n{description}")  # noqa: S704  # escaped by `markdown_name`


class InHtml(_Galleries):
    """Galleries in HTML; the images are small, and the page enlarges them."""

    def gallery(self, indices: Sequence[int], total: int) -> Markup:
        """Return test images with every model's prediction, each linked to its details."""
        return self.render_macro("gallery", [self.analysis.by_index[index] for index in indices], _FIRST, total)

    def label_issue_gallery(self, found: LabelIssues) -> Markup:
        """Return images whose label may be wrong."""
        pictures = self.pictures_of(found.split)
        pairs = [(pictures[issue.index], text.describe_label_issue(issue)) for issue in found.shown]
        return self.render_macro("label_issues", pairs, found.split, _FIRST_LABEL_ISSUES, found.by_either)

    def errors_gallery(self) -> Markup:
        """Return every selected error, with its explanation and the attributes that a reader can filter by."""
        wrong = {picture.index: _wrong_answers(picture) for picture in self.analysis.pictures}
        return self.render_macro("errors", self.analysis, wrong)

    def render_macro(self, macro: str, *arguments: object) -> Markup:
        """Return the output of a macro that shows images of the analysis."""
        return _cards(macro, *arguments, self.names, self.classes, shape=self.shape)

    @staticmethod
    def changed_gallery(
        shown: Sequence[Changed], total: int, titles: Sequence[str], classes: Sequence[str], shape: Sequence[int]
    ) -> Markup:
        """Return images that only one of two models got right; the `titles` name the models."""
        return _cards("changed", shown, _FIRST, total, tuple(titles), tuple(classes), shape=shape)

    @staticmethod
    def own_gallery(shown: Sequence[ClassifiedPicture], shape: Sequence[int]) -> Markup:
        """Return a user's own images: the original, the parts that were left out, and the image that the network received."""
        titles = ["; doubtful: ".join((Path(one.path).name, *one.doubts)) for one in shown]
        return _cards("own", list(zip(titles, shown, strict=True)), shape=shape)


def _cards(macro: str, *arguments: object, shape: Sequence[int]) -> Markup:
    """Return the output of a macro of the report's card template."""
    return cards("report_cards.html.j2", macro, *arguments, shape=shape, words=text)


def _wrong_answers(picture: Picture) -> str:
    """Return the wrong predictions for an image as JSON: pairs of the model's position and the predicted class."""
    pairs = [
        (str(rank), str(answer.predicted))
        for rank, answer in enumerate(picture.answers)
        if answer.predicted != picture.label
    ]
    return json.dumps(pairs)

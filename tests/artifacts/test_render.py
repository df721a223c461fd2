import base64
import io
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from artifacts import render, tables
from artifacts.figures import FIGURES
from artifacts.pictures import figure_url, picture_url
from tasks.analysis import Analysis, FileLine, Provenance, Report, StepLine
from tasks.records import ArchiveRecord, Origin
from tests.samples import analysis_of_two


@pytest.fixture
def analysis() -> Analysis:
    return analysis_of_two()


@pytest.fixture
def report(analysis: Analysis) -> Report:
    made = Origin(step="train-plain", run="an-earlier-run", at=datetime(2026, 1, 2, tzinfo=UTC), seconds=1.5)
    here = made.model_copy(update={"step": "profile", "run": "this-run"})
    archive = ArchiveRecord(
        name="t10k.gz",
        file={"path": "archives/t10k.gz", "bytes": 1, "sha256": "0" * 64},
        mirror="file:///mirror",
        passed_over=("https://host/: HTTP 404",),
    )
    provenance = Provenance(
        run="this-run", began=made.at, root="/root", archives=(archive,), splits=(),
        steps=(StepLine(name="train-plain", origin=made, cached=True), StepLine(name="profile", origin=here, cached=False)),
        files=(FileLine(role="train-plain", path="models/plain.keras", sha256="1" * 64),),
        libraries={"numpy": "2"}, python="3.11", platform="Linux", cores=2,
    )  # fmt: skip
    return Report(provenance=provenance, analysis=analysis)


class Page(HTMLParser):
    """What a browser would fetch, and the text that it would show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_no_other_file(report: Report) -> None:
    page = Page(render.page("\n\n".join(render.parts_of(report)), "title"))
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not {"script", "link", "iframe"} & set(page.tags)


def test_markdown_tables_html_and_json_state_the_same_numbers(report: Report) -> None:
    parts = render.parts_of(report)
    text = Page(render.page("\n\n".join(parts), "title")).text
    document = json.loads(report.model_dump_json())
    for model, row in zip(document["analysis"]["models"], tables.results(report.analysis), strict=True):
        share = model["accuracy"]["count"] / model["accuracy"]["total"]
        assert row["accuracy"] == f"{100 * share:.2f} %"
        assert (
            row["errors"]
            == model["errors"]
            == sum(map(sum, model["confusion"])) - sum(line[label] for label, line in enumerate(model["confusion"]))
        )
        for value in (row["accuracy"], row["95 % interval"], row["loss"]):
            assert str(value) in parts.summary
            assert str(value) in text
    for pattern in document["analysis"]["patterns"]:
        assert any(
            [row[model["name"]] for model in document["analysis"]["models"]] == pattern["counts"]
            for row in tables.patterns(report.analysis)
        )


def test_every_shown_image_stands_in_the_galleries_with_every_answer(report: Report) -> None:
    galleries = render.parts_of(report).galleries
    for picture in report.analysis.pictures:
        assert f"#{picture.index}, label **{report.analysis.subject.classes[picture.label]}**" in galleries.replace(
            "\\", ""
        )
        assert picture_url(picture, report.analysis.subject.shape) in galleries


def test_the_report_says_what_came_from_which_run(report: Report) -> None:
    origins = render.parts_of(report).origins.replace("\\", "")
    assert "| train-plain | an-earlier-run |" in origins
    assert "| profile | this one |" in origins
    assert "passed over https://host/: HTTP 404 (t10k.gz)" in origins


def test_names_that_users_write_take_no_effect(report: Report) -> None:
    evil = "<script>alert(1)</script>|[x](javascript:1)`"
    subject = report.analysis.subject.model_copy(update={"title": evil, "classes": (evil, "b", "c")})
    changed = report.model_copy(update={"analysis": report.analysis.model_copy(update={"subject": subject})})
    page = Page(render.page("\n\n".join(render.parts_of(changed)), evil))
    assert "script" not in page.tags
    assert "a" not in page.tags
    assert page.text.count("<script>alert(1)</script>") > 3


def test_an_image_is_enlarged_without_blur(analysis: Analysis) -> None:
    picture = analysis.pictures[0]
    url = picture_url(picture, analysis.subject.shape)
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    rows, columns = analysis.subject.shape
    factor = image.height // rows
    assert image.size == (columns * factor, rows * factor)
    raw = base64.b64decode(picture.pixels)
    for y in range(image.height):
        for x in range(image.width):
            assert image.getpixel((x, y)) == 255 - raw[y // factor * columns + x // factor]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_the_same_twice(analysis: Analysis, name: str) -> None:
    urls = [figure_url(FIGURES[name](analysis)) for _ in range(2)]
    assert urls[0] == urls[1]
    image = Image.open(io.BytesIO(base64.b64decode(urls[0].partition(",")[2]))).convert("L")
    assert image.getextrema()[0] < 100  # something dark is drawn


def test_a_model_without_errors_is_reported(report: Report) -> None:
    models = tuple(model.model_copy(update={"confident": ()}) for model in report.analysis.models)
    bare = report.analysis.model_copy(update={"models": models, "patterns": (), "pictures": ()})
    parts = render.parts_of(report.model_copy(update={"analysis": bare}))
    assert "None." in parts.galleries
    assert not re.search("undefined|\\bnan\\b", re.sub("data:[^)]*", "", parts.summary), re.IGNORECASE)


def test_tables_hold_only_texts_and_finite_numbers(analysis: Analysis) -> None:
    for key, _, rows in tables.all_tables(analysis):
        assert re.fullmatch("[a-z0-9-]+", key)
        assert rows
        assert all(isinstance(value, str | int) for row in rows for value in row.values())


def test_templates_are_part_of_the_package() -> None:
    assert {path.name for path in (Path(render.__file__).parent / "templates").iterdir()} >= {
        "summary.md.j2",
        "page.css",
    }

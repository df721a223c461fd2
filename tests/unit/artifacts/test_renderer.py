import base64
import io
import json
import re
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from artifacts.common import html_page
from artifacts.common import rows as common_rows
from artifacts.common.images import explained_url, heat_url, outline, picture_url, strip_url
from artifacts.common.plotting import figure_url
from artifacts.common.templating import images_across
from artifacts.report import renderer, tables
from artifacts.report import text as words
from artifacts.report.figures import FIGURES, figures_of
from artifacts.report.renderer import Rendering
from tasks.analysis.builder import build_robustness
from tasks.schemas.analysis import Analysis, AugmentationPreview, FileLine, Provenance, Report, StepLine
from tasks.schemas.findings import Comparison, Estimate, Patch
from tasks.schemas.records import ArchiveRecord, Origin
from tasks.schemas.robustness import CorruptionCounts
from tests.support.samples import DECISION, analysis_of_many, analysis_of_two, changes_of_two, provenance


@pytest.fixture
def analysis() -> Analysis:
    return analysis_of_two()


@pytest.fixture
def report(analysis: Analysis) -> Report:
    made = Origin(
        step="train plain", kind="train", run="an-earlier-run", at=datetime(2026, 1, 2, tzinfo=UTC), seconds=1.5
    )
    here = made.model_copy(update={"step": "profile", "run": "this-run", "why": "code: tasks.steps.profile_data"})
    archive = ArchiveRecord(
        name="t10k.gz",
        file={"path": "archives/t10k.gz", "bytes": 1, "sha256": "0" * 64},
        mirror="file:///mirror",
        failed_mirrors=("https://host/: HTTP 404",),
    )
    provenance = Provenance(
        run="this-run", began=made.at, root="/root", archives=(archive,), splits=(),
        steps=(StepLine(name="train plain", origin=made, cached=True), StepLine(name="profile", origin=here, cached=False)),
        files=(FileLine(role="train plain", path="models/plain.keras", sha256="1" * 64),),
        libraries={"numpy": "2"}, python="3.11", platform="Linux", cores=2,
    )  # fmt: skip
    return Report(provenance=provenance, decision=DECISION, changes=changes_of_two(), analysis=analysis)


class Page(HTMLParser):
    """A parser that collects the addresses that a browser would request, and the text that it would show."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.alts: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag == "img":
            self.alts += [value or "" for name, value in attrs if name == "alt"]

    def handle_data(self, data: str) -> None:
        self.text += data


def rendering_of(report: Report) -> Rendering:
    return Rendering(report, drawn_once(report.analysis.model_dump_json()))


def undrawn(report: Report) -> Rendering:
    """Return the rendering of a report whose figures are not the subject of a test."""
    return Rendering(report, dict.fromkeys(figures_of(report.analysis), "data:,"))


@cache
def drawn_once(document: str) -> dict[str, str]:
    """Return the figures of an analysis, which many tests share."""
    return {name: figure_url(draw()) for name, draw in figures_of(Analysis.model_validate_json(document)).items()}


def html_of(report: Report) -> Page:
    return Page(rendering_of(report).html("title"))


def test_the_page_needs_no_other_file(report: Report) -> None:
    page = html_of(report)
    pictures = [link for link in page.links if not link.startswith("#")]
    assert pictures
    assert all(link.startswith("data:image/png;base64,") for link in pictures)
    assert not {"link", "iframe"} & set(page.tags)
    assert page.tags.count("script") == 1


def test_every_link_within_the_page_leads_somewhere_and_every_picture_has_an_alternative(report: Report) -> None:
    page = html_of(report)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.alts) == page.tags.count("img")
    assert len(set(page.ids)) == len(page.ids)


def test_markdown_tables_html_and_json_state_the_same_numbers(report: Report) -> None:
    rendering = rendering_of(report)
    texts = [rendering.markdown().replace("\\", ""), " ".join(html_of(report).text.split())]
    document = json.loads(report.model_dump_json())["analysis"]
    for model, row in zip(document["models"], tables.results(report.analysis), strict=True):
        share = model["accuracy"]["count"] / model["accuracy"]["total"]
        assert row["accuracy"] == f"{100 * share:.2f} %"
        wrong = sum(map(sum, model["confusion"])) - sum(line[label] for label, line in enumerate(model["confusion"]))
        assert row["errors"] == model["errors"] == wrong
        loss = f"{model['calibration']['log_loss']['value']:.4f}"
        assert row["loss"] == loss
        for text in texts:
            assert all(str(value) in text for value in (row["accuracy"], row["95 % interval"], loss))
            assert f"{model['calibration']['brier']['value']:.4f}" in text
    (comparison,) = document["comparisons"]
    for text in texts:
        assert f"{100 * comparison['difference']['value']:+.2f} points" in text
        assert f"p = {comparison['p']:.2g}" in text
    for pattern in document["patterns"]:
        assert any(
            [row[model["name"]] for model in document["models"]] == pattern["counts"]
            for row in tables.patterns(report.analysis)
        )
    for group in document["groups"]:
        assert {"images": group["count"], "outcome": group["name"]} in tables.groups(report.analysis)


def test_the_galleries_contain_every_shown_image_with_every_prediction(report: Report) -> None:
    galleries = rendering_of(report).parts().galleries.replace("\\", "")
    page = html_of(report)
    for picture in report.analysis.pictures:
        label = report.analysis.subject.classes[picture.label]
        assert f"#{picture.index}, label **{label}**" in galleries
        assert picture_url(picture.pixels, report.analysis.subject.shape) in galleries
        assert f"image-{picture.index}" in page.ids
        for answer in picture.answers:
            said = words.describe_answer(answer, picture.label, report.analysis.subject.classes)
            assert said in galleries
            assert said in page.text


def test_errors_are_explained_in_both_forms(report: Report) -> None:
    parts, text = rendering_of(report).parts(), " ".join(html_of(report).text.split())
    for form in (parts.models["plain"].replace("\\", ""), text):
        assert "erasing this pixel changes the prediction to c0 (75 %)" in form
        assert "no square of up to 1 x 1 pixels changes the prediction to c2 when erased" in form
        assert "nearest training images: c2, c2; farther away than for 97 % of correct predictions" in form


def test_changes_are_listed_in_html_and_markdown(report: Report) -> None:
    for text in (rendering_of(report).parts().overview.replace("\\", ""), " ".join(html_of(report).text.split())):
        assert "Compared with run" in text
        assert "6 test images that both runs evaluated (evaluated only by earlier: 0, only by later: 1)" in text
        assert "recipe seed" in text
        assert "newly correct" in text
    page = Page(renderer.changes_page(changes_of_two(), "earlier against later"))
    assert "recipe seed" in page.text
    assert [link for link in page.links if link.startswith("data:image/png")]


def test_the_first_run_has_nothing_to_compare_with(report: Report) -> None:
    alone = report.model_copy(update={"changes": None})
    assert "There is no earlier run under this root" in rendering_of(alone).parts().overview


def test_one_model_alone_is_reported(report: Report) -> None:
    analysis = report.analysis
    alone = analysis.model_copy(
        update={
            "models": analysis.models[:1],
            "comparisons": (),
            "groups": (),
            "labels": tuple(line.model_copy(update={"errors": line.errors[:1], "p": ()}) for line in analysis.labels),
            "patterns": tuple(one.model_copy(update={"counts": one.counts[:1]}) for one in analysis.patterns),
            "pictures": tuple(one.model_copy(update={"answers": one.answers[:1]}) for one in analysis.pictures),
            "training_pictures": tuple(
                one.model_copy(update={"answers": one.answers[:1]}) for one in analysis.training_pictures
            ),
        }
    )
    text = html_of(report.model_copy(update={"analysis": alone})).text
    assert "plain has an accuracy of 33.33 %" in text


def test_a_dataset_of_the_name_mnist_is_not_said_to_hold_digits(report: Report) -> None:
    subject = report.analysis.subject.model_copy(update={"dataset": "mnist"})
    named = report.model_copy(update={"analysis": report.analysis.model_copy(update={"subject": subject})})
    assert "relies on something other than the shape." in Rendering(named, figures={}).markdown()


def test_images_of_another_shape_are_drawn_in_their_own() -> None:
    pixels = base64.b64encode(bytes(range(9))).decode()
    for size, of in ((2, base64.b64encode(bytes(range(4))).decode()), (3, pixels)):
        changes = changes_of_two()
        (model,) = changes.models
        one = model.newly_right[0].model_copy(update={"pixels": of})
        page = renderer.changes_page(
            changes.model_copy(
                update={"shape": (size, size), "models": (model.model_copy(update={"newly_right": (one,)}),)}
            ),
            "t",
        )
        drawn = re.findall(r"data:image/png;base64,([^\"']+)", page)
        assert {Image.open(io.BytesIO(base64.b64decode(text))).size for text in drawn} == {(size, size)}


def test_the_report_says_what_came_from_which_run(report: Report) -> None:
    provenance = rendering_of(report).parts().provenance.replace("\\", "")
    assert "| train plain | yes | – | an-earlier-run |" in provenance
    assert "| profile | no | code: tasks.steps.profile_data | this run |" in provenance
    assert "skipped mirror https://host/: HTTP 404 (t10k.gz)" in provenance


def test_names_that_users_write_take_no_effect(report: Report) -> None:
    evil = "<script>alert(1)</script>|[x](javascript:1)`\n\n<img src=x>"
    subject = report.analysis.subject.model_copy(update={"title": evil, "classes": (evil, "b", "c")})
    changed = changes_of_two().model_copy(update={"classes": (evil, "b", "c")})
    analysis = report.analysis.model_copy(update={"subject": subject})
    evil_report = report.model_copy(update={"analysis": analysis, "changes": changed})
    plain, mean = (Page(undrawn(one).html("title")) for one in (report, evil_report))
    assert mean.tags == plain.tags
    assert not [link for link in mean.links if "javascript" in link or link == "x"]
    assert mean.text.count("<script>alert(1)</script>") > 10


COMPARISON = Comparison(
    first="plain", second="norm", both_right=9736, only_first=79, only_second=120, both_wrong=65, same_wrong=54,
    difference=Estimate(value=0.0041, low=0.0013, high=0.0069), loss=Estimate(value=-0.01, low=-0.02, high=-0.007), p=0.0045,
)  # fmt: skip


def test_the_verdict_keeps_the_order_of_the_models_and_states_the_uncertainty() -> None:
    evidence = "+0.41 points (95 % interval +0.13 to +0.69) over 10,000 images, exact McNemar p = 0.0045."
    assert words.verdict(COMPARISON) == f"norm is better than plain: {evidence}"
    turned = COMPARISON.model_copy(
        update={"only_first": 120, "only_second": 79, "difference": Estimate(value=-0.0041, low=-0.0069, high=-0.0013)}
    )
    opposite = "-0.41 points (95 % interval -0.69 to -0.13) over 10,000 images, exact McNemar p = 0.0045."
    assert words.verdict(turned) == f"norm is worse than plain: {opposite}"


def test_the_verdict_says_when_a_difference_is_within_error() -> None:
    around_0 = Estimate(value=0.0041, low=-0.0003, high=0.0085)
    said = words.verdict(COMPARISON.model_copy(update={"p": 0.06, "difference": around_0}))
    assert said.startswith("The difference between plain and norm is within error: norm +0.41 points (95 %")
    assert words.verdict(COMPARISON.model_copy(update={"p": 1e-9})).endswith("p < 0.0001.")


def test_a_verdict_says_that_the_p_value_decides_if_the_interval_disagrees() -> None:
    said = words.verdict(COMPARISON.model_copy(update={"p": 0.06}))
    assert said.startswith(
        "The difference between plain and norm is not significant: norm +0.41 points (95 % interval +0.13"
    )
    assert said.endswith("exact McNemar p = 0.06; the interval excludes 0, but the p-value decides.")
    around_0 = Estimate(value=0.0041, low=-0.0003, high=0.0085)
    said = words.verdict(COMPARISON.model_copy(update={"p": 0.04, "difference": around_0}))
    assert said.startswith("norm is better than plain: +0.41 points (95 % interval -0.03 to")
    assert said.endswith("p = 0.04; the interval includes 0, but the p-value decides.")


def test_the_headline_is_about_the_trained_models_and_names_the_study(report: Report) -> None:
    said = words.headline(report.analysis)
    assert said.startswith("For these two trained models (one seed each), ")
    assert said.endswith("Run mnist study to test whether other seeds agree.")
    assert said in rendering_of(report).parts().overview.replace("\\", "")
    assert words.change_summary(changes_of_two()).startswith("For these two trained models (one seed each), ")


def test_intervals_of_differences_have_the_sign_of_each_bound() -> None:
    changes = changes_of_two()
    model = changes.models[0].model_copy(update={"comparison": COMPARISON})
    (row,) = tables.changes(changes.model_copy(update={"models": (model,)}))
    assert row["95 % interval, points"] == "+0.13 to +0.69"


def test_ensembles_are_not_said_to_have_one_seed(analysis: Analysis) -> None:
    first, second = analysis.models
    several = analysis.model_copy(update={"models": (first, second.model_copy(update={"seeds": (1, 2)}))})
    assert words.headline(several).startswith("For these two trained models, ")
    changes = changes_of_two()
    models = tuple(one.model_copy(update={"one_seed": False}) for one in changes.models)
    said = words.change_summary(changes.model_copy(update={"models": models}))
    assert said.startswith("For these two trained models, ")


def test_galleries_in_markdown_state_the_shown_and_total_numbers_and_where_all_images_are() -> None:
    analysis = analysis_of_many()
    whole = Report(provenance=provenance(), decision=None, changes=None, analysis=analysis)
    place = "runs/this-run/report.html"
    parts = Rendering(whole, dict.fromkeys(FIGURES, "data:,"), place=place).parts()
    assert f"12 of 20 images; {place} shows all." in parts.galleries
    assert f"24 of 60 images; {place} shows all." in parts.models["plain"]
    for text in (parts.overview, parts.galleries, *parts.models.values()):
        assert place in text
    fewer = whole.model_copy(update={"analysis": analysis.model_copy(update={"misclassified": 500})})
    html = Rendering(fewer, dict.fromkeys(FIGURES, "data:,")).html("t")
    assert "This report shows 60 of 500 images; the predictions for all images are" in html
    assert "All errors" not in html


def test_each_explanation_is_below_the_name_of_its_model_even_if_predictions_are_equal(analysis: Analysis) -> None:
    shown = next(one for one in analysis.pictures if any(answer.explanation for answer in one.answers))
    explained = next(answer for answer in shown.answers if answer.explanation)
    without = explained.model_copy(update={"explanation": None})
    for answers in ((explained, explained), (without, explained)):
        pictures = [
            one.model_copy(update={"answers": answers if one is shown else (without, without)})
            for one in analysis.pictures
        ]
        changed = analysis.model_copy(update={"pictures": tuple(pictures)})
        whole = Report(provenance=provenance(), decision=None, changes=None, analysis=changed)
        html = Rendering(whole, dict.fromkeys(FIGURES, "data:,")).html("t")
        names = [model.name for model, answer in zip(analysis.models, answers, strict=True) if answer.explanation]
        assert re.findall(r'<div class="why"><p><b>(\w+)</b>', html) == names


def test_a_row_of_pictures_is_as_wide_as_the_ui_shows() -> None:
    assert images_across(["#82, label **2**<br>plain: **3 10.7 % (2: 10.7 %)**"]) == 3  # 225 pixels each
    assert images_across(["#1"]) == 4
    assert images_across(["m: " + "x" * 40]) == 2
    assert images_across(["x" * 200]) == 1
    for name, across in (("shirtabc", 2), ("WWWWWWWW", 1), ("😀" * 8, 1), ("漢字の名前はとても広い", 1)):
        assert images_across([f"#12<br>batch\\_norm: **{name} 93.1 % ({name}: 12.0 %)**"]) == across


def test_no_text_of_a_table_is_a_bullet_or_a_heading_in_the_ui(analysis: Analysis) -> None:
    blocks = ["-", "+", "#", ">", "1.", "- a", "    a"]
    shown = common_rows.for_ui([{"label": text, "n": 1} for text in blocks])
    assert [row["label"] for row in shown] == [f"{common_rows.NO_WIDTH}{text}" for text in blocks]
    harmless = [{"b": "1.5", "c": "no", "d": "\u2013", "e": "< 0.0001", "f": "batch_norm", "g": "a__b", "h": r"\x1b"}]
    assert common_rows.for_ui(harmless) == harmless
    assert not [
        value for _, _, rows in tables.all_tables(analysis) for row in rows for value in row.values() if value == "-"
    ]


def image_of(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def test_an_image_is_enlarged_without_blur(analysis: Analysis) -> None:
    picture = analysis.pictures[0]
    image = image_of(picture_url(picture.pixels, analysis.subject.shape))
    rows, columns = analysis.subject.shape
    factor = image.height // rows
    assert image.size == (columns * factor, rows * factor)
    raw = base64.b64decode(picture.pixels)
    for y in range(image.height):
        for x in range(image.width):
            assert image.getpixel((x, y)) == 255 - raw[y // factor * columns + x // factor]


def test_a_patch_is_drawn_where_it_was_found() -> None:
    assert outline(Patch(row=2, column=5, edge=3, probability=1), 4) == (20, 8, 31, 19)


def test_maps_and_strips_are_drawn(analysis: Analysis) -> None:
    picture = next(one for one in analysis.pictures if one.answers[0].explanation)
    explanation = picture.answers[0].explanation
    assert explanation
    heat = image_of(heat_url(explanation.heat, (2, 2), 1)).convert("RGB")
    assert sum(heat.getpixel((0, 0))) < sum(heat.getpixel((1, 1)))
    assert image_of(explained_url(picture.pixels, explanation, (2, 2))).size == (84 * 2 + 42, 84)
    assert image_of(strip_url([picture.pixels] * 3, (2, 2))).size == (3 * 44, 42)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_the_same_twice(analysis: Analysis, name: str) -> None:
    url = figure_url(FIGURES[name](analysis))
    assert url == drawn_once(analysis.model_dump_json())[name]
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("L")
    assert image.getextrema()[0] < 100  # something dark is drawn


def test_a_model_without_errors_is_reported(report: Report) -> None:
    models = tuple(model.model_copy(update={"confident_errors": ()}) for model in report.analysis.models)
    label_issues = tuple(one.model_copy(update={"by_models": 0, "shown": ()}) for one in report.analysis.label_issues)
    nothing: dict[str, object] = {"patterns": (), "groups": (), "pictures": (), "label_issues": label_issues}
    bare = report.analysis.model_copy(update={"models": models, **nothing})
    parts = undrawn(report.model_copy(update={"analysis": bare})).parts()
    assert "None." in parts.galleries
    assert not re.search("undefined|\\bnan\\b", re.sub("data:[^)]*", "", parts.overview), re.IGNORECASE)


def test_tables_hold_only_texts_and_finite_numbers(analysis: Analysis) -> None:
    for key, _, rows in tables.all_tables(analysis):
        assert re.fullmatch("[a-z0-9-]+", key)
        assert rows
        assert all(isinstance(value, str | int) for row in rows for value in row.values())


def test_templates_are_part_of_the_package() -> None:
    folders = [Path(module.__file__).parent / "templates" for module in (html_page, renderer)]
    assert {path.name for folder in folders for path in folder.iterdir()} >= {"overview.md.j2", "page.js", "page.css"}


def test_corrupted_images_are_shown_and_counted_where_they_were_asked_for(report: Report) -> None:
    pixels = tuple(report.analysis.pictures[0].pixels for _ in range(5))
    found = build_robustness(
        [
            CorruptionCounts(
                model=model, images=6, clean=5, right={"blur": (5, 4, 4, 3, 3)}, by_image=(5, 5, 5, 4, 0, 0)
            )
            for model in ("plain", "other")
        ],
        {"blur": pixels},
    )
    whole = report.model_copy(update={"analysis": report.analysis.model_copy(update={"robustness": found})})
    rendering = rendering_of(whole)
    overview = rendering.parts().overview
    assert "## Corrupted images" in overview
    assert "<h2" in (html := rendering.html("title"))
    assert re.search(r"<h2[^>]*>Saliency maps</h2>", html)
    assert "| plain | 83.33 % | 43.65 to 96.99 | 63.33 % |" in overview
    assert "| other minus plain | +0.00 | +0.00 to +0.00 |" in overview
    assert "| blur | ![blur](data:image/png;base64," in overview
    assert "| blur | 5 | 50.00 % |" in overview
    assert "Accuracy by corruption and severity" in Page(rendering.html("title")).alts
    assert "## Corrupted images" not in rendering_of(report).parts().overview


def test_augmented_images_are_below_the_original_images(report: Report) -> None:
    pixels = tuple(picture.pixels for picture in report.analysis.pictures)
    preview = AugmentationPreview(before=pixels, after=pixels[::-1])
    whole = report.model_copy(update={"analysis": report.analysis.model_copy(update={"augmentation_preview": preview})})
    alts = Page(undrawn(whole).html("title")).alts
    assert alts.index("Training images") + 1 == alts.index("The same images, augmented")
    assert "augmented" not in " ".join(html_of(report).alts)


def test_an_ensemble_has_no_curve_of_its_own(analysis: Analysis) -> None:
    models = tuple(
        model.model_copy(update={"history": ()}) if rank else model for rank, model in enumerate(analysis.models)
    )
    loss, _ = FIGURES["training_curves"](analysis.model_copy(update={"models": models})).axes
    labels = [line.get_label() for line in loss.get_lines()]
    assert "plain, training" in labels
    assert "other, training" not in labels
    assert "other, test" in labels

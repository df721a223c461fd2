"""Test the page in a real browser: sorting, the filter bar, links into the page, and galleries that open."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from artifacts.common.html_page import page
from artifacts.report.figures import FIGURES
from artifacts.report.renderer import Rendering
from tasks.safety.plain_text import RIGHT_TO_LEFT as RIGHT_TO_LEFT_WORDS
from tasks.schemas.analysis import Report
from tests.support.samples import analysis_of_many, provenance

Opened = Callable[[str], Page]

TABLE = """
| name | at (UTC) | by run | share | range | p | class | unit | picture |
| --- | --- | --- | ---: | --- | --- | --- | --- | --- |
| `b10` | 2026-01-02 10:00:00 | 20260102-100000-b | 9.50 % | -12 to -5° | < 0.0001 | 10 | 1,200 | <img alt="x"> |
| `b9` | 2026-01-02 09:00:00 | this one | 10.25 % | 3 to 5° | 0.5 | 9 | – | <img alt="x"> |
| `a` | 2025-12-31 23:59:59 | 20260101-235959-z | 9.05 % | -3 to 3° | 0.02 | 2 | 90 | <img alt="x"> |
"""
SORTED = {  # the first cells of the rows, in ascending order
    "name": ["a", "b9", "b10"],
    "at (UTC)": ["a", "b9", "b10"],
    "by run": ["a", "b10", "b9"],
    "share": ["a", "b10", "b9"],
    "range": ["b10", "a", "b9"],
    "p": ["b10", "a", "b9"],
    "class": ["a", "b9", "b10"],
    "unit": ["a", "b10", "b9"],
}
IN_REPORT = ["b10", "b9", "a"]
PICTURES = """
| <img alt="1"> | <img alt="2"> |
| --- | --- |
| #1 | #2 |
| <img alt="3"> | <img alt="4"> |
| #3 | #4 |
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    shown = browser.new_page(viewport={"width": 1100, "height": 700})
    complaints: list[str] = []
    shown.on("pageerror", lambda error: complaints.append(str(error)))

    def open_page(html: str) -> Page:
        path = tmp_path / "report.html"
        path.write_text(html)
        shown.goto(path.as_uri())
        return shown

    yield open_page
    shown.close()
    assert not complaints


@pytest.fixture(scope="module")
def report() -> str:
    whole = Report(provenance=provenance(), decision=None, changes=None, analysis=analysis_of_many())
    return Rendering(whole, dict.fromkeys(FIGURES, "data:,")).html("Many errors")


def rows(shown: Page) -> list[str]:
    return shown.locator("tbody tr > :first-child").all_inner_texts()


@pytest.mark.parametrize("column", SORTED)
def test_a_column_sorts_by_its_type_up_down_and_back(opened: Opened, column: str) -> None:
    shown = opened(page(TABLE, "t"))
    head = shown.locator("th").filter(has=shown.get_by_text(column, exact=True))
    assert rows(shown) == IN_REPORT
    head.locator("button").focus()
    shown.keyboard.press("Enter")
    assert (rows(shown), head.get_attribute("aria-sort")) == (SORTED[column], "ascending")
    shown.keyboard.press("Space")
    known = [row for row in SORTED[column] if column != "unit" or row != "b9"]
    missing = [row for row in SORTED[column] if row not in known]
    assert (rows(shown), head.get_attribute("aria-sort")) == (known[::-1] + missing, "descending")
    shown.keyboard.press("Enter")
    assert (rows(shown), head.get_attribute("aria-sort")) == (IN_REPORT, None)


def test_another_column_takes_the_order_over(opened: Opened) -> None:
    shown = opened(page(TABLE, "t"))
    for column in ("share", "p"):
        shown.get_by_role("button", name=column, exact=True).click()
    assert shown.locator("[aria-sort]").all_inner_texts() == ["p"]
    assert rows(shown) == SORTED["p"]


def test_pictures_and_their_captions_can_not_be_torn_apart(opened: Opened) -> None:
    shown = opened(page(PICTURES, "t"))
    assert shown.locator("th button").count() == 0
    shown = opened(page(TABLE, "t"))
    assert shown.locator("th button").count() == len(SORTED)  # none for the image column


def test_every_table_of_the_report_comes_back_to_its_order(opened: Opened, report: str) -> None:
    shown = opened(report)
    shown.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    buttons = shown.locator("th button").all()
    assert len(buttons) > 20
    before = [table.inner_text() for table in shown.locator("table").all()]
    for button in buttons:
        for _ in range(3):
            button.click()
    assert [table.inner_text() for table in shown.locator("table").all()] == before


def covered(bar: Locator, target: Locator) -> bool:
    """Return whether the bar covers the target, or the target is outside of the window."""
    one, other = bar.bounding_box(), target.bounding_box()
    assert one
    assert other
    over = one["y"] < other["y"] + other["height"] and other["y"] < one["y"] + one["height"] - 0.5
    return over or not 0 <= other["y"] < 700


@pytest.mark.parametrize("width", [400, 1100, 1400])
def test_no_link_into_the_page_ends_below_the_bar(opened: Opened, report: str, width: int) -> None:
    shown = opened(report)
    shown.set_viewport_size({"width": width, "height": 700})
    bar = shown.locator("#filters")
    figures = [f"#{one.get_attribute('id')}" for one in shown.locator("#errors > figure").all()]
    headings = [str(one.get_attribute("href")) for one in shown.locator("nav a").all()]
    address = shown.url
    for anchor in (figures[0], figures[20], figures[-1], *headings):
        shown.goto(address + anchor)
        shown.wait_for_timeout(100)
        assert not covered(bar, shown.locator(anchor)), anchor


def test_the_bar_stays_with_the_errors_and_leaves_with_them(opened: Opened, report: str) -> None:
    shown = opened(report)
    bar = shown.locator("#filters")
    shown.evaluate("document.querySelector('#errors > figure:nth-child(20)').scrollIntoView()")
    assert bar.bounding_box() | {"y": 0} == bar.bounding_box()  # type: ignore[operator]  # it has a box
    shown.evaluate("scrollTo(0, document.body.scrollHeight)")
    shown.wait_for_timeout(100)
    after = shown.get_by_role("heading", name="Provenance").bounding_box()
    box = bar.bounding_box()
    assert after
    assert box
    assert box["y"] + box["height"] <= after["y"]


def test_a_link_to_an_image_that_the_filters_hide_shows_it(opened: Opened, report: str) -> None:
    shown = opened(report)
    shown.select_option("#filters [name=label]", "1")
    hidden = shown.locator("#errors > figure[data-label='0']").last
    assert not hidden.is_visible()
    link = shown.locator(f".gallery a[href='#{hidden.get_attribute('id')}']").first
    link.evaluate(
        "link => { for (let at = link; at; at = at.parentElement) if (at.tagName === 'DETAILS') at.open = true; }"
    )
    link.click()
    shown.wait_for_timeout(200)
    assert hidden.is_visible()
    assert not covered(shown.locator("#filters"), hidden)


def test_a_gallery_says_how_many_it_shows_and_opens_into_all(opened: Opened, report: str) -> None:
    shown = opened(report)
    shown.evaluate("document.querySelectorAll('details:not(.rest)').forEach(one => { one.open = true; })")
    rest = shown.locator("details.rest").first
    summary = rest.locator("summary")
    first, total = re.findall(r"\d+", summary.inner_text())
    assert (first, total, summary.inner_text()) == ("12", "20", "12 of 20 images: show all")
    gallery = rest.locator("xpath=preceding-sibling::div[1]")
    assert gallery.locator("figure").count() == 12
    assert rest.locator("figure").count() == 0
    summary.focus()
    shown.keyboard.press("Enter")
    rest.locator("figure").nth(7).wait_for()
    assert rest.locator("figure").count() == 8
    both = [*gallery.locator("a").all(), *rest.locator("a").all()]
    assert len({link.get_attribute("href") for link in both}) == 20
    card = rest.locator("figure").first
    there = shown.locator(f"{card.locator('a').get_attribute('href')} figcaption").first
    assert card.locator("figcaption").text_content() == there.text_content()
    assert card.locator("img").get_attribute("src")


def test_without_the_script_images_omitted_from_a_gallery_are_linked(report: str) -> None:
    linked = re.findall(r'<p class="links">(.*?)</p>', report)
    assert linked
    assert all(f'id="{target}"' in report for one in linked for target in re.findall(r'href="#(.*?)"', one))


@pytest.mark.parametrize("width", [400, 1100])
def test_words_of_200_letters_make_no_page_wider_than_its_window(opened: Opened, width: int) -> None:
    word = "x" * 200
    text = f"# {word}\n\n{word} and a number\n\n- {word}\n\n| label | images |\n| --- | ---: |\n| {word} | 1,200 |\n"
    shown = opened(page(text, word))
    shown.set_viewport_size({"width": width, "height": 700})
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    lines = "cell => { const all = document.createRange(); all.selectNodeContents(cell); return all.getClientRects().length }"
    assert shown.get_by_role("cell", name="1,200").evaluate(lines) == 1, "a number is not broken"


RIGHT_TO_LEFT = ("\u05d0\u05d1\u05d2", "\u0645\u0631\u062d \u0628\u0627", "\u05d3 12 (x)")
PLACES = """(item) => {
    item.style.whiteSpace = "nowrap";
    const walker = document.createTreeWalker(item, NodeFilter.SHOW_TEXT), found = [];
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        for (const match of node.data.matchAll(/[\\u0590-\\u08ff]+|[\\d.]+/g)) {
            const range = document.createRange();
            range.setStart(node, match.index);
            range.setEnd(node, match.index + match[0].length);
            found.push(range.getBoundingClientRect().left);
        }
    }
    return found;
}"""


def test_right_to_left_class_names_do_not_change_the_order_of_a_sentence(opened: Opened) -> None:
    analysis = analysis_of_many()
    subject = analysis.subject.model_copy(update={"classes": RIGHT_TO_LEFT})
    named = analysis.model_copy(update={"subject": subject})
    whole = Report(provenance=provenance(), decision=None, changes=None, analysis=named)
    rendering = Rendering(whole, dict.fromkeys(FIGURES, "data:,"))
    for text in (rendering.html("t"), rendering.markdown()):
        assert not RIGHT_TO_LEFT_WORDS.search(re.sub("\u2068[^\u2069]*\u2069", "", text)), "every word is isolated"
    shown = opened(rendering.html("t"))
    said = shown.locator(".why p").filter(has_text=RIGHT_TO_LEFT[2][0]).first
    places = said.evaluate(PLACES)
    assert len(places) > 3
    assert places == sorted(places), "words and numbers follow one another from left to right"

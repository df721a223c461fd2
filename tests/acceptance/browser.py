"""Check the report of a run in a real browser.

All images are decoded, nothing is loaded from another address, nothing is wider than the page, and filters and sorting
work.
"""

import json
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

DRAWN = "Promise.all([...document.images].map(image => { image.loading = 'eager'; return image.decode(); }))"
# The browser lays out cards outside the window only when they scroll into view.
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 300))))"
WIDER = "document.documentElement.scrollWidth > window.innerWidth"
# Return the texts of visible diagrams that overlap another text or extend beyond their diagram. Two lines may touch.
OVERLAPPING = """[...document.querySelectorAll('svg')].filter(svg => svg.getClientRects().length).flatMap(svg => {
    const whole = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')].map(text => ({ said: text.textContent, at: text.getBoundingClientRect() }));
    const lie = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3;
    const out = at => at.left < whole.left - 1 || at.right > whole.right + 1 || at.bottom > whole.bottom + 1;
    return texts.flatMap((one, place) => [
        ...(out(one.at) ? [one.said] : []),
        ...texts.slice(place + 1).filter(other => lie(one.at, other.at)).map(other => `${one.said} on ${other.said}`),
    ]);
})"""
SIZES = {"screen": (1100, 1300), "telephone": (400, 800)}


def main(result_path: str, screenshots: str) -> None:
    """Check the report of a run, and save screenshots of it in a folder."""
    result = json.loads(Path(result_path).read_text())
    report = Path(result["root"]) / result["report"]["html"]
    folder = Path(screenshots)
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            look_at_report(browser, report, scheme, folder)
        browser.close()


def look_at_report(browser: Browser, report: Path, scheme: str, folder: Path) -> None:
    """Load the report in both sizes, and fail on errors, missing images, requests elsewhere, and text that overlaps."""
    page = browser.new_page(color_scheme="dark" if scheme == "dark" else "light")
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        page.goto(report.as_uri())
        assert page.locator("img").count() > 100, "there are hardly any pictures"
        page.evaluate(DRAWN)
        assert not page.evaluate(WIDER), f"the report is wider than the {size}"
        assert page.locator("svg:visible").count() >= 2, "a network is missing"
        assert not (found := page.evaluate(OVERLAPPING)), f"on the {size}, texts of a network overlap: {found}"
        page.screenshot(path=folder / f"report-{size}-{scheme}.png")
    assert not complaints, complaints
    assert {url for url in asked if not url.startswith("data:")} == {report.as_uri()}, asked
    filters_work(page)
    sorting_works(page)
    page.set_viewport_size({"width": 1100, "height": 1300})
    page.evaluate("document.querySelector('#errors').scrollIntoView()")
    page.evaluate(PAINTED)
    page.screenshot(path=folder / f"errors-{scheme}.png")
    page.close()


def filters_work(page: Page) -> None:
    """Filter by label and then by model, check that only matching cards are visible, and reset the filters."""
    cards = page.locator("#errors > figure")
    total = cards.count()
    label = cards.first.get_attribute("data-label")
    page.select_option("#filters [name=label]", label)
    shown = [card for card in cards.all() if card.is_visible()]
    assert 0 < len(shown) < total, f"the filter shows {len(shown)} of {total}"
    assert {card.get_attribute("data-label") for card in shown} == {label}
    page.select_option("#filters [name=model]", "0")
    narrower = [card for card in cards.all() if card.is_visible()]
    assert len(narrower) <= len(shown)
    assert all('["0",' in (card.get_attribute("data-wrong") or "") for card in narrower)
    assert page.locator("#shown").inner_text() == f"{len(narrower)} of {total} images"
    page.click("#filters button")
    page.wait_for_function(f"document.querySelector('#shown').textContent === '{total} of {total} images'")


def sorting_works(page: Page) -> None:
    """Sort the table of errors by label by its number of images, in both directions, with the keyboard."""
    table = page.locator("table", has=page.locator("th", has_text="images")).first
    button = table.locator("th", has_text="images").locator("button")
    for order in ("ascending", "descending"):
        button.focus()
        page.keyboard.press("Enter")
        found = [int(text) for text in table.locator("tbody td:nth-child(2)").all_inner_texts()]
        assert found == sorted(found, reverse=order == "descending"), found
        assert table.locator("th", has_text="images").get_attribute("aria-sort") == order


if __name__ == "__main__":
    main(*sys.argv[1:])

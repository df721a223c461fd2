"""The report of a run in a real browser: every picture is drawn, nothing is fetched, nothing is wider than the page."""

import json
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

BROKEN = "Array.from(document.images).filter(image => !image.complete || !image.naturalWidth).length"
WIDER = "document.documentElement.scrollWidth > window.innerWidth"


def main(result_path: str, screenshot: str) -> None:
    """Open the report, look at it, and take a picture of its first screen."""
    result = json.loads(Path(result_path).read_text())
    report = Path(result["root"]) / result["report"]["html"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 1300})
        check(page, report)
        page.screenshot(path=screenshot)
        page.set_viewport_size({"width": 400, "height": 800})
        assert not page.evaluate(WIDER), "the report is wider than a telephone"
        browser.close()


def check(page: Page, report: Path) -> None:
    """Load the report, and refuse whatever a reader would stumble over."""
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    assert page.locator("img").count() > 20, "there are hardly any pictures"
    assert page.evaluate(BROKEN) == 0, "a picture is broken"
    assert not complaints, complaints
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()], asked
    assert not page.evaluate(WIDER), "the report is wider than the screen"


if __name__ == "__main__":
    main(*sys.argv[1:])

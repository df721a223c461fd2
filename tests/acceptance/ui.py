"""Use both versions of Prefect's UI in a real browser, as a user does.

The check visits the dashboard, the graph of a run, the logs of a task, every artifact with all its images, and the
history of an artifact. It starts a run from the form, which rejects invalid values.
"""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as NotInTimeError

from tests.acceptance.browser import DRAWN
from tests.support.serving import Api

PAGES = {"report", "galleries", "model-plain", "model-batch-norm", "results", "errors-by-label", "patterns", "slices"}
VERSIONS = {"v1": "", "v2": "/v2"}
CUT = (
    "[...document.querySelectorAll('table:has(img)')].some(one => one.scrollWidth > one.parentElement.clientWidth + 1)"
)
SECONDS = 20_000  # in milliseconds, enough for the slowest page on a busy machine


def walk(address: str, credential: str, folder: Path) -> None:
    """Visit both UIs of the server at an address, and save screenshots in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    api = Api(f"{address}/api/", credential)
    with api.client, sync_playwright() as playwright:
        runs = api.ask("flow_runs/filter", sort="END_TIME_DESC", flow_runs={"state": {"type": {"any_": ["COMPLETED"]}}})
        assert len(runs) >= 2, "a history needs two runs"
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for version, prefix in VERSIONS.items():
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.set_default_timeout(SECONDS)
            errors: list[str] = []
            page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            log_in(page, f"{address}{prefix}", credential)
            look(page, f"{address}{prefix}", api, runs[:2], folder / version)
            start_from_the_form(page, f"{address}{prefix}", api, folder / version)
            assert not errors, errors
            page.close()
        browser.close()


def log_in(page: Page, ui: str, credential: str) -> None:
    """Enter the credential in a UI, which asks for it before it shows anything."""
    page.goto(f"{ui}/dashboard")
    page.wait_for_url("**/login**")
    page.locator("input[type=password]").fill(credential)
    page.get_by_role("button", name=re.compile("log ?in|sign ?in", re.IGNORECASE)).click()
    page.wait_for_url(re.compile(r"://[^/]+(/v2)?/dashboard"))


def look(page: Page, ui: str, api: Api, runs: Sequence[dict[str, Any]], pictures: Path) -> None:
    """Visit the pages of the first of two runs, and the history that has both."""
    run, earlier = runs
    page.goto(f"{ui}/dashboard")
    expect(page.get_by_text("Flow Runs", exact=True).first).to_be_visible()
    keep(page, f"{pictures}-dashboard.png")

    page.goto(f"{ui}/runs/flow-run/{run['id']}")
    expect(page.get_by_text(run["name"]).first).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()
    expect(page.get_by_text("Beginning flow run").first).to_be_visible()
    keep(page, f"{pictures}-run.png")

    page.goto(f"{ui}/runs/task-run/{trained(api)['id']}")
    expect(page.get_by_text(re.compile(r"plain: epoch \d+/\d+, loss")).first).to_be_visible()
    keep(page, f"{pictures}-task.png")

    found = api.artifacts(run["id"])
    assert found.keys() >= PAGES, PAGES - found.keys()
    for key in sorted(PAGES):
        page.goto(f"{ui}/artifacts/artifact/{found[key]['id']}")
        look_at_artifact(page, found[key])
        keep(page, f"{pictures}-artifact-{key}.png")

    page.goto(f"{ui}/artifacts/key/report")
    expect(page.get_by_text("Results of the error analysis").first).to_be_visible()
    for one in (run, earlier):
        expect(page.get_by_text(one["name"], exact=True).first).to_be_visible()
    keep(page, f"{pictures}-history.png")


def trained(api: Api) -> dict[str, Any]:
    """Return the last training of any run that was not cached."""
    wanted = {"name": {"any_": ["train plain"]}, "state": {"name": {"any_": ["Completed"]}}}
    found: dict[str, Any] = api.ask("task_runs/filter", task_runs=wanted, sort="END_TIME_DESC")[0]
    return found


def look_at_artifact(page: Page, artifact: dict[str, Any]) -> None:
    """Check that all images of an artifact's page are decoded, or that a table shows its first row."""
    if artifact["type"] == "markdown":
        assert artifact["key"].startswith("model-") == ("data:image/svg+xml" in artifact["data"])
        drawings = artifact["data"].count("data:image/svg+xml")
        expect(page.locator("img[src^='data:image/svg+xml']")).to_have_count(drawings)
        pictures = artifact["data"].count("data:image/png")
        assert pictures > 5, f"artifact {artifact['key']} holds hardly any picture"
        expect(page.locator("img[src^='data:image/png']")).to_have_count(pictures)
        page.evaluate(DRAWN)
        assert not page.evaluate(CUT), f"a gallery of artifact {artifact['key']} is cut"
    else:
        first = next(iter(json.loads(artifact["data"])[0].values()))
        page.get_by_text(str(first), exact=True).first.wait_for()


def start_from_the_form(page: Page, ui: str, api: Api, pictures: Path) -> None:
    """Submit the form of the deployment: an invalid value is rejected, and valid values start a run."""
    deployment = api.deployment("on-demand")["id"]
    of_it = {"deployments": {"id": {"any_": [deployment]}}}
    before = {run["id"] for run in api.ask("flow_runs/filter", **of_it)}
    page.goto(f"{ui}/deployments/deployment/{deployment}/run")
    expect(page.get_by_text("Passes over the training images").first).to_be_visible()
    recipe = page.locator("textarea").nth(1)
    recipe.fill("No!")
    keep(page, f"{pictures}-form.png")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text(re.compile("does not match|Validation failed|must match|pattern")).first).to_be_visible()
    keep(page, f"{pictures}-refused.png")
    assert {run["id"] for run in api.ask("flow_runs/filter", **of_it)} == before
    page.goto(f"{ui}/deployments/deployment/{deployment}/run")
    expect(page.get_by_text("Passes over the training images").first).to_be_visible()
    page.wait_for_timeout(1000)
    started = submit(page, f"{pictures}-submitted.png")
    assert started not in before
    assert api.ended(started, 600)["state_type"] in {"COMPLETED", "FAILED"}


def submit(page: Page, picture: str) -> str:
    """Submit the form as often as needed, and return the ID of the run: on a busy machine, it may not be ready at once."""
    for _ in range(6):
        try:
            with page.expect_response(re.compile("/create_flow_run$"), timeout=SECONDS) as created:
                page.get_by_role("button", name="Submit").click()
            return str(created.value.json()["id"])
        except NotInTimeError:
            keep(page, picture)
    raise AssertionError(f"the form was submitted, but no run was created: see {picture}")


def keep(page: Page, path: str) -> None:
    """Take a screenshot after the page has settled."""
    page.wait_for_timeout(1500)
    page.screenshot(path=path)


if __name__ == "__main__":
    import sys

    walk(sys.argv[1], Path(sys.argv[2]).read_text().strip(), Path(sys.argv[3]))

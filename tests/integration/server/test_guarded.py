"""Test `mnist serve` with a generated secret: attacks from a browser, both UIs, and commands on the same machine."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator

import psutil
import pytest
from playwright.sync_api import sync_playwright
from prefect.client.orchestration import get_client

from tests.acceptance.ui import VERSIONS, log_in
from tests.reliability.attack import attack, read_back
from tests.support.serving import PREFECT, Serving, serving, without_prefect


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("guarded")
    with serving(folder / "prefect", folder / "root", options=["--no-worker"]) as running:
        yield running


def test_other_pages_rebound_names_and_unknown_clients_are_rejected(served: Serving) -> None:
    trials = list(attack(f"http://127.0.0.1:{served.port}", served.credential))
    assert len(trials) > 700
    assert [one for one in trials if one.breach] == []


def test_an_attack_says_so_where_it_cannot_read_back_what_a_page_has_written(served: Serving) -> None:
    address = f"http://127.0.0.1:{served.port}"
    assert [one.breach for one in read_back(address, "nothing", served.credential)] == [""]
    assert [one.breach for one in read_back(address, "nothing", "mnist:wrong")] == ["status 401"]
    assert list(read_back(address, "nothing", None)) == []


@pytest.mark.usefixtures("prefect")
def test_the_same_attack_gets_through_to_prefects_own_server() -> None:
    address = str(get_client(sync_client=True).api_url).rstrip("/").removesuffix("/api")
    broken = [one for one in attack(address, origins=["another site"], wrong=["none"]) if one.breach]
    assert {one.source for one in broken} >= {"another site", "a page", "a rebound name", "credential: none"}
    tried = {one.what for one in broken}
    assert "what it wrote, read back" in tried
    assert any(one.startswith("WebSocket ") for one in tried)


def test_both_uis_ask_once_and_remember_it_for_each_other(served: Serving) -> None:
    address = f"http://127.0.0.1:{served.port}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for asks, other in (VERSIONS.values(), reversed(VERSIONS.values())):
            context = browser.new_context()
            log_in(context.new_page(), f"{address}{asks}", served.credential)
            page = context.new_page()
            page.goto(f"{address}{other}/flows")
            page.get_by_text("Flows").first.wait_for()
            page.wait_for_load_state("networkidle")
            assert "login" not in page.url
            context.close()
        browser.close()


def test_prefects_commands_beside_it_need_one_variable(served: Serving) -> None:
    env = without_prefect(os.environ) | {"PREFECT_PROFILES_PATH": str(served.profiles)}
    command = [PREFECT, "variable", "set", "beside", "1"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert served.api.client.get("variables/name/beside").json()["value"] == 1


def test_the_secret_lies_where_no_other_account_can_read_it(served: Serving) -> None:
    for path in (served.profiles, served.profiles.with_name("secret")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(served.profiles.parent.stat().st_mode) == 0o700
    secret = served.credential.partition(":")[2]
    for process in (psutil.Process(served.process.pid), *served.processes()):
        assert not any(secret in part for part in process.cmdline())


def test_a_link_from_elsewhere_opens_the_ui(served: Serving) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content(f"<a href='http://127.0.0.1:{served.port}/runs'>the run</a>")
        page.click("a")
        page.wait_for_url("**/login**")
        browser.close()

"""The temporary server of a run: it knows this process alone, whatever the user has set for other servers."""

from pathlib import Path

import httpx
import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.credential import authorization
from flows.server import early_server, server

# What a user may have set for a server elsewhere, in the environment or in a profile.
HOSTILE = {
    "PREFECT_SERVER_API_AUTH_STRING": "me:mine",
    "PREFECT_API_AUTH_STRING": "me:other",
    "PREFECT_API_KEY": "pnu_key",
    "PREFECT_SERVER_API_BASE_PATH": "/elsewhere",
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "*",
    "PREFECT_SERVER_UI_ENABLED": "true",
    "PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "Basic eA==", "X-Own": "1"}',
}


@pytest.mark.parametrize("named_in", ["nowhere", "the environment", "a profile"])
def test_it_lets_in_its_own_process_and_nobody_else(
    tmp_path: Path, named_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    if named_in == "the environment":
        for name, value in HOSTILE.items():
            monkeypatch.setenv(name, value)
    elif named_in == "a profile":
        lines = "\n".join(f"{name} = '{value}'" for name, value in HOSTILE.items())
        (tmp_path / "mine.toml").write_text(f"active = 'mine'\n[profiles.mine]\n{lines}\n")
        monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "mine.toml"))
    # Other tests of this process may have a server of their own.
    alone = temporary_settings(restore_defaults={PREFECT_API_URL})
    with alone, early_server() as early, server(early) as api:
        api.wait()
        with get_client(sync_client=True) as client:
            client.read_flows()  # the server lets this process in
        for headers in ({}, authorization("me:mine"), authorization("me:other")):
            refused = httpx.post(f"{api.url}/flows/filter", json={}, headers=headers)
            assert refused.status_code == 401
        own = authorization(api.credential)
        assert httpx.get(f"{api.url}/health").status_code == 200
        assert httpx.get(f"{api.url}/health", headers={"Host": "evil.example"}).status_code == 400
        assert httpx.get(f"{api.url}/version", headers=own | {"Origin": "https://evil.example"}).status_code == 403
        assert httpx.get(f"{api.url}/version", headers=own).status_code == 200
        for path in ("/", "/v2/", "/ui-settings", "/docs"):
            assert httpx.get(api.url.removesuffix("/api") + path).status_code == 401
        secret = api.credential.partition(":")[2]
        for process in psutil.Process().children(recursive=True):
            assert not any(secret in part for part in process.cmdline())
        found = api.credential
    with early_server() as later:
        assert later
        assert later.credential != found


def test_it_imports_nothing_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("flows", "prefect", "uvicorn"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    with early_server() as early:
        assert early
        early.wait()
        assert httpx.get(f"{early.url}/health").status_code == 200

"""Test the secret of a server: created once, private, and rejected if others could have read or replaced it."""

import os
import stat
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prefect.settings import PREFECT_HOME, PREFECT_SERVER_API_AUTH_STRING, temporary_settings

from flows.cli.serve import Served, describe_served, next_steps
from flows.server.credential import Credential, client_settings, overriding_variables, server_credential, write_profiles
from tasks.errors import ServerError


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with temporary_settings({PREFECT_HOME: tmp_path / "home"}):
        yield tmp_path / "home"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_secret_is_created_once_and_readable_by_this_account_only(home: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        made = server_credential()
    finally:
        os.umask(before)
    assert made.file == home / "mnist-serve" / "secret"
    assert (mode(made.file), mode(made.file.parent)) == (0o600, 0o700)
    assert made.value.startswith("mnist:")
    assert len(made.value) >= 49
    assert server_credential() == made
    assert list(made.file.parent.iterdir()) == [made.file]


def test_concurrent_first_starts_agree_on_one_secret(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: server_credential_in(home), range(8)))
    assert len(found) == 1


def server_credential_in(home: Path) -> Credential:
    with temporary_settings({PREFECT_HOME: home}):  # settings are local to a thread
        return server_credential()


def test_the_users_own_credential_takes_precedence_and_is_not_written(home: Path) -> None:
    with temporary_settings({PREFECT_SERVER_API_AUTH_STRING: "me:canary"}):
        own = server_credential()
    assert own == Credential("me:canary", None)
    assert not home.exists()
    profiles = write_profiles("http://127.0.0.1:4200/api", own)
    assert "canary" not in profiles.read_text()


def test_an_empty_credential_of_the_user_does_not_open_the_server(home: Path) -> None:
    with temporary_settings({PREFECT_SERVER_API_AUTH_STRING: ""}):
        assert len(server_credential().value) >= 49


def test_each_server_has_profiles_that_name_it_and_the_secret_and_are_written_again(home: Path) -> None:
    credential = server_credential()
    places = (
        "http://127.0.0.1:4200/api",
        "http://127.0.0.1:4201/api",
        "http://[::1]:4200/api",
        "http://127.0.0.1:4200/api",
    )
    written = {place: write_profiles(place, credential) for place in places}
    assert len(set(written.values())) == 3
    for place, profiles in written.items():
        assert mode(profiles) == 0o600
        found = tomllib.loads(profiles.read_text())
        assert found["profiles"][found["active"]] == {
            "PREFECT_API_URL": place,
            "PREFECT_API_AUTH_STRING": credential.value,
        }
    names = {"profiles-127.0.0.1-4200.toml", "profiles-127.0.0.1-4201.toml", "profiles-1-4200.toml"}
    assert {path.name for path in (home / "mnist-serve").iterdir()} == {"secret", *names}


API = "http://127.0.0.1:4200/api"
MINE = Credential("mnist:mine", Path("secret"))
OTHERS = {
    "PREFECT_API_URL": "",  # which also takes precedence over a profile
    "PREFECT_API_AUTH_STRING": "me:other",
    "PREFECT_PROFILE": "cloud",
    "PREFECT_CLIENT_CUSTOM_HEADERS": '{"authorization": "Basic eA=="}',
}


@pytest.mark.parametrize("name", OTHERS)
def test_variables_that_override_the_profile_are_named(name: str) -> None:
    assert overriding_variables({name: OTHERS[name]}, API, MINE) == [name]
    served = Served(API.removesuffix("/api"), Path("root"), MINE, Path("profiles.toml"), [])
    assert "prefect:  export PREFECT_PROFILES_PATH=profiles.toml" in next_steps(served, worker=True)
    served = served._replace(unset=[name])
    assert f"prefect:  unset {name}; export PREFECT_PROFILES_PATH=profiles.toml" in next_steps(served, worker=True)
    assert describe_served(served, worker=True)["unset"] == [name]


def test_variables_that_name_the_same_server_do_not_override_the_profile() -> None:
    environ = {
        "PREFECT_API_URL": API,
        "PREFECT_API_KEY": "of another server, and not sent",
        **client_settings(MINE.value),
    }
    assert overriding_variables(environ, API, MINE) == []
    for headers in ('{"X-Own": "1"}', "[1]", "no JSON"):
        assert overriding_variables({"PREFECT_CLIENT_CUSTOM_HEADERS": headers}, API, MINE) == []


def refused(words: str) -> None:
    with pytest.raises(ServerError, match=words) as caught:
        server_credential()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wide", [0o640, 0o604, 0o660, 0o644, 0o620, 0o601])
def test_a_secret_that_others_can_use_is_refused(home: Path, wide: int) -> None:
    file = server_credential().file
    assert file
    file.chmod(wide)
    refused("other accounts can use it")


@pytest.mark.parametrize("wide", [0o777, 0o770, 0o755, 0o711])
def test_a_folder_that_others_can_use_is_refused(home: Path, wide: int) -> None:
    server_credential()
    (home / "mnist-serve").chmod(wide)
    refused("other accounts can use it")


def test_a_home_that_anyone_can_write_to_is_refused(home: Path) -> None:
    home.mkdir()
    home.chmod(0o777)
    refused("anyone can write to it")
    assert not list(home.iterdir())


def test_links_and_other_kinds_are_refused(home: Path, tmp_path: Path) -> None:
    file = server_credential().file
    assert file
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    for make in (
        lambda: file.symlink_to(elsewhere),
        lambda: file.symlink_to("missing"),
        lambda: os.mkfifo(file, 0o600),
    ):
        make()
        refused("not a file")
        file.unlink()
    folder = file.parent
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    refused("not a folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_files_of_another_account_are_rejected(home: Path) -> None:
    file = server_credential().file
    assert file
    os.chown(file, 12345, 12345)
    refused("belongs to another account")


@pytest.mark.parametrize("text", ["", "mnist:short", "mnist:" + "x" * 42, "x" * 2000])
def test_a_secret_that_was_altered_is_refused(home: Path, text: str) -> None:
    file = server_credential().file
    assert file
    file.write_text(text)
    refused("its content was altered")


def test_a_home_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with temporary_settings({PREFECT_HOME: tmp_path / "file" / "home"}):
        refused("can't store the server's secret: .*Not a directory")

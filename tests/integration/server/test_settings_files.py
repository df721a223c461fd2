"""Test the settings files that Prefect reads automatically: files that another account can write are rejected.

They are checked before a run and during it.
"""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect.settings import get_current_settings
from prefect.settings.models.root import Settings
from prefect.settings.sources import PyprojectTomlConfigSettingsSource

from flows.processes import settings_files
from flows.processes.settings_files import HERE, IN_HOME, NAMED, require_trusted_settings, require_writable_home
from tasks.errors import SettingsError
from tasks.filesystem import trusted_files
from tests.support.serving import free_port, without_prefect

PROJECT = Path(__file__).parents[3]
OTHER = 12345  # the ID of a user
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")

# Settings that name code, for each of the files.
LOGGING = """
version: 1
handlers: {own: {(): subprocess.call, args: [touch, %s]}}
root: {handlers: [own]}
"""
SETTINGS = {
    ".env": "PREFECT_LOGGING_SETTINGS_PATH={}",
    "prefect.toml": "[logging]\nconfig_path = '{}'",
    "pyproject.toml": "[tool.prefect.logging]\nconfig_path = '{}'",
}
COMMANDS = {
    "run": ("-m", "flows.cli.app", "run", "--root", "root"),
    "study": ("-m", "flows.cli.app", "study", "--root", "root"),
    "worker": ("-m", "flows.cli.app", "worker"),
    "serve": ("-m", "flows.cli.app", "serve", "--port", str(free_port())),
    "a run of a worker": ("-m", "flows.server.execute", "mnist", "1"),
    "a server": ("-m", "flows.server.serving"),
    "the set-up": (
        "-m",
        "flows.server.database",
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder like /tmp, with a separate Prefect home, and return the folder."""
    for name in NAMED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(settings_files, "WATCHED", {"not again in this process"})
    folder = tmp_path / "here"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all files belong to another account."""
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    monkeypatch.setattr(trusted_files, "_code_owner", lambda: OTHER)
    monkeypatch.setattr(trusted_files, "_ROOT", OTHER)


def written(path: Path, mode: int = 0o644) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("name", HERE)
def test_the_users_own_files_are_accepted_in_a_shared_folder(here: Path, name: str) -> None:
    written(here / name)
    require_trusted_settings()


@pytest.mark.parametrize("name", HERE)
def test_a_pipe_in_the_place_of_a_settings_file_is_refused(here: Path, name: str) -> None:
    os.mkfifo(here / name)
    with pytest.raises(SettingsError, match=rf"can't read settings from {here / name}: it is a pipe \(FIFO\)"):
        require_trusted_settings()


@pytest.mark.usefixtures("as_another")
@pytest.mark.parametrize("name", HERE)
def test_a_file_of_another_account_is_named_with_its_fault(here: Path, name: str) -> None:
    file = written(here / name)
    with pytest.raises(SettingsError, match=f"^{file} belongs to user {file.stat().st_uid}, .*another folder$"):
        require_trusted_settings()


@pytest.mark.usefixtures("here", "as_another")
def test_a_folder_of_another_account_without_such_files_is_no_fault() -> None:
    require_trusted_settings()


@pytest.mark.usefixtures("as_another")
def test_the_projects_own_file_is_as_trusted_as_its_code(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    require_trusted_settings()


@pytest.mark.usefixtures("as_another")
def test_the_owner_of_the_code_is_trusted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(here / ".env")
    monkeypatch.setattr(trusted_files, "_code_owner", lambda: file.stat().st_uid)
    require_trusted_settings()


@pytest.mark.parametrize("name", HERE)
def test_a_file_that_all_can_write_is_refused(here: Path, name: str) -> None:
    written(here / name, 0o666)
    with pytest.raises(SettingsError, match=r"can be written by others \(mode 0666\)"):
        require_trusted_settings()


@pytest.mark.parametrize("private", [True, False])
def test_a_group_may_write_that_is_the_users_own(here: Path, private: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    written(here / ".env", 0o664)
    monkeypatch.setattr(trusted_files, "is_private", lambda _group: private)
    if private:
        require_trusted_settings()
    else:
        with pytest.raises(SettingsError, match=r"mode 0664"):
            require_trusted_settings()


def test_a_file_that_others_can_replace_is_refused(here: Path) -> None:
    here.chmod(0o777)
    require_trusted_settings()
    file = written(here / ".env")
    with pytest.raises(SettingsError, match=f"^{here} can be written by others .* read from {file}, "):
        require_trusted_settings()


def test_a_link_is_as_trusted_as_its_target(here: Path, tmp_path: Path) -> None:
    (here / ".env").symlink_to(written(tmp_path / "mine"))
    require_trusted_settings()
    (tmp_path / "mine").chmod(0o666)
    with pytest.raises(SettingsError, match="mine can be written by others"):
        require_trusted_settings()


@pytest.mark.usefixtures("here")
def test_a_home_that_all_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    require_trusted_settings()
    (tmp_path / "home").chmod(0o777)
    with pytest.raises(SettingsError, match=r"home can be written by others .*another PREFECT_HOME"):
        require_trusted_settings()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", IN_HOME)
def test_a_file_in_the_home_that_all_can_write_is_refused(tmp_path: Path, name: str) -> None:
    written(tmp_path / "home" / name, 0o666)
    with pytest.raises(SettingsError, match=f"{name} can be written by others"):
        require_trusted_settings()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", NAMED)
def test_a_file_that_the_environment_names_is_checked_too(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(written(tmp_path / "named" / "file", 0o666)))
    with pytest.raises(SettingsError, match="file can be written by others"):
        require_trusted_settings()


def test_prefect_reads_its_settings_from_these_files_only(here: Path) -> None:
    """Check Prefect's private parts; if this test fails, read which files Prefect now reads its settings from."""
    settings = Settings()
    assert {settings.model_config["env_file"], settings.model_config["toml_file"]} == {".env", "prefect.toml"}
    assert PyprojectTomlConfigSettingsSource(Settings).toml_file_path == Path("pyproject.toml")
    unknown = SimpleNamespace(__class__=None)
    sources = Settings.settings_customise_sources(Settings, unknown, unknown, unknown, unknown)  # type: ignore[arg-type]
    assert [type(source).__name__ for source in sources if source is not unknown] == [
        "EnvFilterSettingsSource",
        "FilteredDotEnvSettingsSource",
        "PrefectTomlConfigSettingsSource",
        "PyprojectTomlConfigSettingsSource",
        "ProfileSettingsTomlLoader",
    ]
    assert {settings.profiles_path, settings.logging.config_path, settings.home} <= set(settings_files.settings_files())
    assert get_current_settings().home != settings.home


def called(here: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *command],
        env=os.environ | {"MNIST_ROOT": str(here.parent / "root")} | env,
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )


def with_code(here: Path, name: str) -> Path:
    """Write settings that create a file, and return the path of that file."""
    made = here / "made"
    logging = here / "logging.yml"
    logging.write_text(LOGGING % made)
    (here / name).write_text(SETTINGS[name].format(logging))
    return made


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_do_run_code(here: Path, name: str) -> None:
    """Check that such settings run code; otherwise, the tests below would prove nothing."""
    made = with_code(here, name)
    called(here, "-c", "import flows, prefect.logging.configuration as c; c.setup_logging()")
    assert made.exists()


@NEEDS_ROOT
@pytest.mark.parametrize(
    ("command", "name"),
    [*((command, ".env") for command in COMMANDS), *(("run", name) for name in SETTINGS if name != ".env")],
)
def test_every_process_refuses_settings_of_another_account_in_one_line(here: Path, command: str, name: str) -> None:
    made = with_code(here, name)
    os.chown(here / name, OTHER, OTHER)
    done = called(here, *COMMANDS[command])
    assert done.returncode == 2
    assert done.stderr.startswith(f"mnist: {here / name} belongs to user {OTHER}, ")
    assert len(done.stderr.splitlines()) == 1
    assert not made.exists()


@NEEDS_ROOT
def test_profiles_of_another_account_are_refused(here: Path) -> None:
    file = written(here.parent / "home" / "profiles.toml")
    os.chown(file, OTHER, OTHER)
    done = called(here, "-m", "flows.cli.app", "worker")
    assert (done.returncode, done.stderr.split(", ")[0]) == (2, f"mnist: {file} belongs to user {OTHER}")


LATER = """
import os, pathlib, sys
import flows, prefect.context
from tasks.errors import SettingsError
name, text, owner = sys.argv[1:]
pathlib.Path(name).write_text(text)
os.chown(name, int(owner), -1)
try:
    prefect.context.refresh_global_settings_context()
    print(prefect.settings.PREFECT_API_URL.value())
except SettingsError as error:
    print(error)
"""


@NEEDS_ROOT
@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".env", "PREFECT_API_URL=taken"),
        ("prefect.toml", "api = {url = 'taken'}"),
        ("pyproject.toml", "[tool.prefect.api]\nurl = 'taken'"),
    ],
)
def test_a_file_that_turns_up_during_a_run_is_refused_where_others_can_add_files(
    here: Path, name: str, text: str
) -> None:
    refused = called(here, "-c", LATER, name, text, str(OTHER))
    assert refused.stdout.startswith(f"{here / name} belongs to user {OTHER}, "), refused.stderr
    (here / name).unlink()
    taken = called(here, "-c", LATER, name, text, str(os.geteuid()))
    assert taken.stdout.strip() == "taken", taken.stderr


def test_a_link_to_the_projects_own_file_is_not_that_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reject the link, because its owner could change its target later."""
    (here / "pyproject.toml").symlink_to(PROJECT / "pyproject.toml")
    here.chmod(0o777)
    with pytest.raises(SettingsError, match="can be written by others"):
        require_trusted_settings()


def test_opened_files_are_not_watched_if_others_can_add_none(here: Path) -> None:
    here.chmod(0o755)
    done = called(here, "-c", "import flows, prefect; print(flows.processes.settings_files.WATCHED)")
    assert done.stdout == "set()\n"


def test_prefects_home_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "a" / "home"))
    require_writable_home()
    assert (tmp_path / "a" / "home").is_dir()


@pytest.mark.parametrize("home", ["file/home", "missing", "~nosuchuser"])
def test_a_home_that_can_t_be_made_is_named_in_one_line(
    tmp_path: Path, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("PREFECT_HOME")
    monkeypatch.setenv("HOME", home if home.startswith("~") else str(tmp_path / home))
    named = (
        "has no home directory" if home.startswith("~") else f"can't create Prefect's home {tmp_path / home}/.prefect: "
    )
    with pytest.raises(SettingsError, match=f"{named}.*set PREFECT_HOME to a folder that can be written"):
        require_writable_home()


@pytest.mark.parametrize("name", ["p?x", "p%20x"])
def test_a_home_that_no_address_of_a_database_can_name_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / name))
    with pytest.raises(
        SettingsError, match=r"can't use Prefect's home .*set PREFECT_HOME to a folder without \? and %"
    ):
        require_writable_home()
    assert list(tmp_path.iterdir()) == []


CANARY = "canary-7f3a9b"
UNUSABLE = {
    "a list": ("PREFECT_CLIENT_CUSTOM_HEADERS", f'["{CANARY}"]'),
    "no JSON": ("PREFECT_CLIENT_CUSTOM_HEADERS", f'{{"X": "{CANARY}"'),
    ".env": (".env", f'PREFECT_CLIENT_CUSTOM_HEADERS=["{CANARY}"]'),
    "TOML, broken": ("prefect.toml", f"[api]\nkey = {CANARY}"),
    "not UTF-8": ("prefect.toml", "[api]\nkey = '\udcff'"),
    "a profile": (
        "home/profiles.toml",
        f"active = 'x'\n[profiles.x]\nPREFECT_CLIENT_CUSTOM_HEADERS = '[\"{CANARY}\"]'",
    ),
    "logging, broken": ("home/logging.yml", f"version: [{CANARY}\n"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_settings_that_prefect_cannot_use_are_one_line_without_their_values(tmp_path: Path, name: str) -> None:
    place, text = UNUSABLE[name]
    env = without_prefect(os.environ) | {"PREFECT_HOME": str(tmp_path / "home")}
    if place.startswith("PREFECT_"):
        env[place] = text
    else:
        (tmp_path / "home").mkdir()
        (tmp_path / place).write_text(text, errors="surrogateescape")
    command = [sys.executable, "-P", "-m", "flows.server.serving", "--port", str(free_port())]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr[-2000:]
    assert done.stderr.splitlines()[-1].startswith("mnist: Prefect can't use its settings: ")
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stdout + done.stderr

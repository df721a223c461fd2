"""Test that the user's configuration file names a root, and that its faults are named in one line."""

from pathlib import Path

import pytest

from tasks.config.user_settings import configured_root, settings_file
from tasks.errors import SettingsError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "mnist" / "config.toml"
    path.parent.mkdir()
    return path


def test_without_a_file_no_root_is_configured(file: Path) -> None:
    assert configured_root() is None


def test_an_empty_file_names_no_root(file: Path) -> None:
    file.touch()
    assert configured_root() is None


def test_a_path_an_address_and_a_home_are_roots(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found = []
    for root in ("/var/lib/mnist", "s3://bucket/prefix", "~/mnist"):
        file.write_text(f'root = "{root}"\n')
        found.append(configured_root())
    assert found == ["/var/lib/mnist", "s3://bucket/prefix", "/home/me/mnist"]


def test_a_byte_order_mark_is_ignored(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbfroot = "/data"\n')
    assert configured_root() == "/data"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"root = /data", "is not TOML: "),
        (b"\xff", "is not TOML: it is not UTF-8; write root = "),
        (b'rot = "/data"', ": unknown key rot; the only key is root"),
        (b"root = 3", ": root must be an absolute path"),
        (b'root = ""', ": root must be an absolute path"),
        (b'root = "data"', ": root must be an absolute path"),
        (b'root = "~nobody-such/x"', "no home directory is known for ~nobody-such"),
    ],
)
def test_a_fault_of_the_file_is_named_in_one_line(file: Path, text: bytes, fault: str) -> None:
    file.write_bytes(text)
    with pytest.raises(SettingsError) as caught:
        configured_root()
    assert fault in str(caught.value)
    assert str(file) in str(caught.value)
    assert len(caught.value.fault_lines) == 1


def test_a_file_that_others_can_write_is_refused(file: Path) -> None:
    file.touch()
    file.chmod(0o666)
    with pytest.raises(SettingsError, match=r"config.toml can be written by others \(mode 0666\)"):
        configured_root()


def test_a_folder_instead_of_the_file_is_refused(file: Path) -> None:
    file.mkdir()
    with pytest.raises(SettingsError, match=r"can't read the configuration .*: it is a folder"):
        configured_root()


def test_without_a_home_directory_there_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.config.user_settings.user_config_path", lambda *_, **__: Path("~/.config/mnist"))
    assert settings_file() is None
    assert configured_root() is None

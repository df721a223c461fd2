"""Test --quiet, --verbose and --log-file, which every command takes before and after its name."""

import errno
import json
import logging
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from flows.cli.console_log import quiet_console
from flows.cli.run import cli
from flows.processes import log_file
from flows.processes.console import VERBOSITY, echo
from flows.processes.log_file import LOG_FILE, close_log_file, note_in_log_file
from tasks.errors import InputError
from tests.unit.storage.test_roots import FIXTURE


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """Restore the variables that a log file sets."""
    before = dict(os.environ)
    yield
    close_log_file()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with a run whose record can't be read, which `mnist runs` mentions on standard error."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    record = min((tmp_path / "root" / "runs").glob("*/run.json"))
    record.write_bytes(record.read_bytes().replace(b"a", b"b", 1))
    return tmp_path / "root"


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from commands(command)


def test_every_command_takes_the_options() -> None:
    for command in (cli, *commands(cli)):
        names = [name for option in command.params for name in option.opts]
        assert {"-q", "--quiet", "-v", "--verbose", "--log-file"} <= set(names), command.name
        assert len(names) == len(set(names)), command.name


@pytest.mark.parametrize("words", [("-q", "runs"), ("runs", "--quiet")])
def test_a_quiet_command_prints_its_result_and_nothing_else(words: tuple[str, ...], root: Path) -> None:
    loud = invoke("runs", "--root", root)
    assert loud.stderr.startswith("skipped: ")
    done = invoke(*words, "--root", str(root))
    assert (done.stdout, done.stderr) == (loud.stdout, "")
    assert not VERBOSITY.quiet, "only that command was"


def test_quiet_and_verbose_exclude_each_other(root: Path) -> None:
    for words in (("-q", "-v", "runs"), ("-q", "runs", "-v")):
        done = invoke(*words, "--root", root)
        assert done.exit_code == 2
        assert "--quiet and --verbose exclude each other" in done.stderr


def test_a_quiet_run_logs_nothing_to_the_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(VERBOSITY, "quiet", True)
    level = os.environ.get("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL")
    with quiet_console(None):
        logging.getLogger("prefect.client").warning("the server is slow")
        assert os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] == "CRITICAL", "of worker processes"
    assert os.environ.get("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL") == level
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", ["--log-file {} runs", "runs --log-file {}"])
def test_a_log_file_gets_the_lines_of_the_screen_and_stays_when_the_command_is_repeated(
    words: str, root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mnist.log"
    for _ in range(2):
        done = invoke(*words.format(file).split(), "--root", root, "--json")
        assert len(json.loads(done.stdout)["runs"]) == 1
        assert "skipped: " in done.stderr
    assert file.read_text().count("| INFO    | ") == file.read_text().count("skipped: ") == 2


def test_a_log_file_gets_the_lines_of_a_quiet_command(root: Path, tmp_path: Path) -> None:
    invoke("-q", "--log-file", tmp_path / "log", "runs", "--root", root)
    assert "skipped: " in (tmp_path / "log").read_text()


def test_secrets_are_masked_in_a_log_file(root: Path, tmp_path: Path) -> None:
    invoke("--log-file", tmp_path / "log", "runs", "--root", root)
    note_in_log_file("mirror https://me:secret@host/mnist failed")
    assert "mirror https://***@host/mnist failed\n" in (tmp_path / "log").read_text()


def test_the_screen_and_the_ui_keep_their_level_of_logs(root: Path, tmp_path: Path) -> None:
    invoke("--log-file", tmp_path / "log", "runs", "--root", root)
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] == "INFO"
    assert os.environ["PREFECT_LOGGING_HANDLERS_API_LEVEL"] == "INFO"
    assert os.environ[LOG_FILE] == str(tmp_path / "log"), "for the processes that the command starts"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none/log", "there is no folder {}/none"),
        ("folder", "Is a directory"),
        ("pipe", "it is a pipe (FIFO), not a regular file"),
        ("file/log", "Not a directory"),
    ],
)
def test_a_log_file_that_cannot_be_written_is_refused_before_the_command_starts(
    name: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    done = invoke("run", "--recipe", "nope", "--log-file", tmp_path / name)
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == (
        f"can't write the log file {tmp_path / name}: {reason.format(tmp_path)}; give another --log-file or MNIST_LOG_FILE"
    )


def test_a_full_disk_is_reported_once_and_does_not_stop_the_command(
    capsys: pytest.CaptureFixture[str], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("--log-file", tmp_path / "log", "runs", "--root", root)

    def write(_text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (handler,) = log_file._opened
    monkeypatch.setattr(handler.stream, "write", write, raising=False)
    echo("one line", err=True)
    echo("another line", err=True)
    assert capsys.readouterr().err.count("is incomplete: [Errno 28] No space left on device") == 1


def test_the_option_of_the_command_precedes_that_of_the_group_and_the_variable(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOG_FILE, str(tmp_path / "none" / "log"))
    assert invoke("runs", "--help").exit_code == 0, "a command that prints its help opens no file"
    for words in (("--log-file", "first", "runs", "--log-file", "last"), ("--log-file", "last", "runs")):
        paths = [tmp_path / word if word in {"first", "last"} else word for word in words]
        assert invoke(*paths, "--root", root).exit_code == 0
    assert (tmp_path / "last").read_text().count("skipped: ") == 2
    assert not (tmp_path / "first").exists()


def test_a_flow_without_its_log_file_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(LOG_FILE, str(tmp_path / "removed" / "log"))
    log_file.log_to_file()
    assert capsys.readouterr().err.startswith("mnist: warning: can't write the log file ")

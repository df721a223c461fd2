"""Test the one-line errors of the command before and apart from its subcommands."""

import pytest

from flows.cli.outcome import run_outcome
from flows.server.local_server import check_server, describe_connection_error
from tasks.errors import ServerError


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_request_for_completions_without_a_shell_is_refused(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MNIST_COMPLETE", f"{shell}_complete")
    monkeypatch.delenv("COMP_WORDS", raising=False)
    code, line = run_outcome([])
    assert code == 2
    assert "COMP_WORDS and COMP_CWORD" in line


@pytest.mark.parametrize("word", ["9" * 5000, "-1", "\u0663", ""])
def test_the_number_of_a_word_to_complete_is_checked(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MNIST_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "mnist ver")
    monkeypatch.setenv("COMP_CWORD", word)
    assert run_outcome([])[0] == 2


def test_a_shell_gets_its_completions(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for shell, word in (("bash", "1"), ("fish", "ver")):
        monkeypatch.setenv("_MNIST_COMPLETE", f"{shell}_complete")
        monkeypatch.setenv("COMP_WORDS", "mnist ver")
        monkeypatch.setenv("COMP_CWORD", word)
        with pytest.raises(SystemExit, match="0"):
            run_outcome([])
        assert "verify" in capsys.readouterr().out


@pytest.mark.parametrize("password", ["canary/x", "canary#x", "canary?x", "canary:x@y/z"])
def test_an_api_address_that_is_not_valid_is_refused_without_its_password(password: str) -> None:
    with pytest.raises(ServerError, match=r"PREFECT_API_URL=http://\*\*\*@") as caught:
        check_server(f"http://user:{password}@127.0.0.1:1/api")
    assert "canary" not in str(caught.value)


def test_the_error_message_of_a_url_parser_is_not_repeated() -> None:
    import httpx

    try:
        httpx.URL("http://user:canary/x@host")
    except httpx.InvalidURL as error:
        line = describe_connection_error(error)
    assert line
    assert "PREFECT_API_URL" in line
    assert "canary" not in line

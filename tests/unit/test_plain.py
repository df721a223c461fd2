"""Test that users' text stays plain: no code bypasses the screen and the stream that escape it."""

import ast
import html
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt
from rich.text import Text

from artifacts.common.rows import for_ui, text_for_ui
from artifacts.common.templating import markdown_name
from artifacts.screen import Screen
from artifacts.terminal import show_predictions
from flows.processes import streams
from tasks.errors import InputError
from tasks.safety.plain_text import isolate_right_to_left, json_line, printable
from tasks.safety.redaction import Redacting
from tasks.schemas.results import PredictResult

PROJECT = Path(__file__).parents[2]
PRINTERS = {
    "artifacts/screen.py",
    "deployments/__main__.py",
    "flows/processes/console.py",
    "flows/processes/log_filters.py",  # changes how rich handles a broken pipe, and prints nothing
}
# Modules that treat strings as markup by default, or that print themselves.
OF_THE_SCREEN = {
    "Console",
    "print",
    "print_json",
    "inspect",
    "Prompt",
    "Confirm",
    "RichHandler",
    "Markdown",
    "Panel",
    "Tree",
}
PRINTED = {"print", "click.echo", "click.secho", "click.style", "click.echo_via_pager", "sys.stdout.write"}
LITERALS = {"TextColumn", "status", "from_markup", "render_markup"}  # they print markup


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("flows", "tasks", "artifacts", "deployments"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            yield path.relative_to(PROJECT).as_posix(), ast.parse(path.read_text("utf-8"))


def dotted(node: ast.expr) -> str:
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def faults(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich"):
            named = {alias.name for alias in node.names}
            if named & OF_THE_SCREEN or node.module in {"rich.markup", "rich.emoji", "rich.logging"}:
                yield f"line {node.lineno}: {node.module}"
        elif isinstance(node, ast.Import):
            yield from (f"line {node.lineno}: {one.name}" for one in node.names if one.name.partition(".")[0] == "rich")
        elif isinstance(node, ast.Call):
            called = dotted(node.func)
            last = called.rpartition(".")[2]
            if called in PRINTED:
                yield f"line {node.lineno}: {called}"
            if last in LITERALS and not all(isinstance(one, ast.Constant) for one in node.args[:1]):
                yield f"line {node.lineno}: {called} of what is no literal"
            for given in node.keywords:
                if given.arg in {"markup", "emoji", "highlight"} and getattr(given.value, "value", None) is not False:
                    yield f"line {node.lineno}: {called}({given.arg}=...)"


def test_only_the_screen_and_the_echo_print_texts_of_users() -> None:
    found = {name: list(faults(tree)) for name, tree in sources() if name not in PRINTERS}
    assert len(found) > 100
    assert not {name: lines for name, lines in found.items() if lines}


EVIL = "[/b] :smile: \x1b[2J \x9b31m \u202e \udcff \ud800 \r\n\u200d 物"
PLAIN = r"[/b] :smile: \x1b[2J \x9b31m \u202e \xff \ud800 \r\n" + "\u200d 物"


class Terminal(io.StringIO):
    """A stream that may claim to be a terminal."""

    encoding = "utf-8"
    tty = True

    def isatty(self) -> bool:
        return self.tty


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    stream = Terminal()
    monkeypatch.setattr("artifacts.screen.sys", SimpleNamespace(stdout=stream))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return stream


def test_text_is_shown_unchanged_except_control_characters_which_become_escapes() -> None:
    assert printable(EVIL) == PLAIN
    assert printable(PLAIN) == PLAIN
    assert printable("a\nb\tc", keep="\n") == "a\nb\\tc"
    assert printable("\u3000 \xa0 naïve 😀") == "\u3000 \xa0 naïve 😀"


HEBREW, ARABIC = "\u05d0\u05d1\u05d2", "\u0645\u0631\u062d \u0628\u0627"


def test_right_to_left_words_are_isolated_from_the_text_around_them() -> None:
    assert isolate_right_to_left("no such letter: 100 %") == "no such letter: 100 %"
    assert (
        isolate_right_to_left(f"{HEBREW}: 100 %, {ARABIC} 12 (x)")
        == f"\u2068{HEBREW}\u2069: 100 %, \u2068{ARABIC}\u2069 12 (x)"
    )


def test_a_terminal_isolates_right_to_left_words_and_a_pipe_gets_the_text_alone(terminal: Terminal) -> None:
    Screen().table([{"label": HEBREW, "count": 3}])
    assert f"\u2068{HEBREW}\u2069" in terminal.getvalue()
    terminal.tty = False
    Screen().table([{"label": ARABIC, "count": 3}])
    assert ARABIC in terminal.getvalue()
    assert f"\u2068{ARABIC}" not in terminal.getvalue()


def test_a_terminal_without_the_characters_that_isolate_gets_none(terminal: Terminal) -> None:
    terminal.encoding = "iso8859-8"
    Screen().say(f"label {HEBREW}: 100 %")
    assert terminal.getvalue() == f"label {HEBREW}: 100 %\n"


def test_a_path_on_a_line_of_its_own_can_be_copied(terminal: Terminal) -> None:
    show_predictions(PredictResult(run="r", pictures=(), page=f"/home/{HEBREW}/{ARABIC}/page\x1b.html"))
    assert terminal.getvalue().endswith(f":  /home/{HEBREW}/{ARABIC}/page\\x1b.html\n")


def test_json_is_ascii_whatever_a_value_holds() -> None:
    line = json_line({"path\udcff": [EVIL, float("nan"), 1.5, None], "more": ("x",)})
    assert line.isascii()
    assert json.loads(line)["path\\xff"][1:] == [None, 1.5, None]
    assert json.loads(line)["path\\xff"][0].startswith("[/b] :smile: \x1b[2J")
    json.loads(line)["path\\xff"][0].encode()  # not half of a character


def test_strings_texts_and_cells_reach_the_terminal_plain(terminal: Terminal) -> None:
    screen = Screen()
    screen.say(EVIL)
    screen.print(Text(EVIL, "red"))
    screen.table([{"label": EVIL, "[b]head": EVIL}], title=EVIL)
    said = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue())
    assert said.count(r"[/b] :smile: \x1b[2J \x9b31m \u202e \xff") == 5
    assert "[b]head" in said
    assert not set(said) & set("\x1b\x9b\u202e\r\udcff")


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_no_number_of_a_table_is_broken_however_narrow_the_terminal(
    width: int, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    row = {"model": "batch_norm", "parameters": "1,272,330", "accuracy": "98.12 %", "interval": "97.93 to 98.30",
           "run": "20261127-135017-prophetic-barracuda", "why": "because of what is said in many short words"}  # fmt: skip
    Screen().table([row, row])
    said = terminal.getvalue()
    for whole in ("batch_norm", "1,272,330", "98.12 %", "97.93 to 98.30", "20261127-135017-prophetic-barracuda"):
        assert said.count(whole) == 2


@pytest.mark.parametrize("width", range(79, 119))
def test_no_number_is_broken_from_its_unit(width: int, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    row = {"run": "20261127-135017-prophetic-barracuda", "recipe": "post, 5 epochs, seed 1 \ue000",
           "accuracy": "plain 97.98 %, batch_norm 98.12 %", "size": "300 files, 12.5 MB in 3.1 s"}  # fmt: skip
    Screen().table([row])
    said = re.sub(r"\s+", " ", re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()))
    for whole in ("97.98 %,", "98.12 %", "12.5 MB", "3.1 s"):
        assert whole in said
    assert "\ue000" not in said


def test_a_pipe_gets_no_control_characters_whatever_the_environment_says(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.setenv(variable, "1")
    terminal.tty = False
    screen = Screen()
    assert not screen.is_terminal
    screen.table([{"label": "a", "count": 3}], title="title")
    assert "\x1b" not in terminal.getvalue()


def test_a_terminal_that_draws_nothing_is_no_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not Screen().is_terminal


def test_a_terminal_of_another_encoding_gets_escapes_and_straight_tables(terminal: Terminal) -> None:
    terminal.encoding = "ascii"
    Screen().table([{"label": "物", "count": 3}, {"label": "b", "count": 12}])
    lines = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()
    assert any(r"\u7269" in line for line in lines)
    assert len({len(line) for line in lines}) == 1
    assert terminal.getvalue().isascii()


def test_what_is_written_to_a_standard_stream_is_plain_and_what_is_drawn_is_not(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb", buffering=0) as raw:
        stream = streams.text(raw, None)
        assert stream.write(EVIL) == len(EVIL)
        stream.write_drawn("\x1b[1m")
        stream.flush()
    assert path.read_bytes().decode() == PLAIN.replace(r"\n", "\n") + "\x1b[1m"


def test_log_records_and_errors_are_plain() -> None:
    record = Redacting(logging.LogRecord)("name", logging.INFO, "f", 1, "at %s", ("x\x1b[2J\n\udcffy",), None)
    assert record.getMessage() == "at x\\x1b[2J\n\\xffy"
    assert str(InputError("no \x1b[2J")) == r"no \x1b[2J"


def test_markdown_holds_texts_of_users_as_texts() -> None:
    texts = (
        EVIL,
        "- x",
        "-",
        "12) x",
        "1. x",
        "---",
        "===",
        "> x",
        "# x",
        "<img src=x>",
        "[x](javascript:1)",
        "`a` *b* |",
        "&lt;",
    )
    for text in texts:
        page = MarkdownIt("commonmark").enable("table").render(str(markdown_name(text)))
        assert page == f"<p>{html.escape(printable(' '.join(text.split())), quote=False)}</p>\n", text


LOOK_ALIKES = str.maketrans("∗ˍ∼ˋ", "*_~`")


def test_a_cell_or_a_description_in_the_ui_is_the_same_text_as_markdown_and_as_text() -> None:
    for text in (
        "- x",
        "-",
        "1. x",
        "# x",
        "> x",
        "<img src=x>",
        "[x](javascript:1)",
        "&lt;",
        "98.1 %",
        "-0.5 to 3",
        "*a*",
        "**b**",
        "***",
        "* * *",
        "`c`",
        "```",
        "~~d~~",
        "~d~",
        "_e_",
        "__f__",
        "x __f__ y",
        "(_g_)",
        "batch_norm_2",
        r"\{",
        r"\*a\*",
        "x\\",
        "    code",
        "http://x.org",
        "www.x.org",
        "me@x.org",
        "<me@x.org>",
        "![x](y)",
    ):
        (row,) = for_ui([{"label": text, "count": 1}])
        cell = str(row["label"])
        assert text_for_ui(text) == cell
        assert cell.replace("\u200b", "").translate(LOOK_ALIKES) == text
        assert not re.search(r"://|www\.|\w@\w", cell), "Prefect's UI makes links of addresses"
        markdown = MarkdownIt("commonmark", {"html": True}).enable("strikethrough")
        page = markdown.render(cell)
        assert page.replace("\u200b", "").translate(LOOK_ALIKES) == f"<p>{html.escape(text, quote=False)}</p>\n"
        assert row["count"] == 1


@pytest.mark.parametrize(
    "line",
    [
        "from rich.console import Console",
        "from rich import print",
        "from rich.markup import escape",
        "import rich",
        "console.print(text, markup=True)",
        "Text.from_markup(text)",
        "console.status(f'{text}')",
        "click.echo(path)",
        "print(path)",
        "sys.stdout.write(path)",
    ],
)
def test_printing_outside_the_screen_is_detected(line: str) -> None:
    assert list(faults(ast.parse(line)))

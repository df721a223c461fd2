"""Read the code blocks of the documentation, and write the output of a run into them.

`python -m tests.tools.console_blocks PAGE COMMAND RESULT.json` replaces what PAGE shows below `$ COMMAND` with what the
command prints for the result that `COMMAND --json` has written.
"""

import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from artifacts.plan import show_plan
from artifacts.screen import Screen
from artifacts.terminal import show, show_study
from tasks.schemas.plan import Plan
from tasks.schemas.results import RunResult, StudyResult

PROJECT = Path(__file__).parents[2]
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), PROJECT / "tests/fixtures/README.md"])


class Shown(NamedTuple):
    """Command that a page shows, and the lines below it up to the next command."""

    page: Path
    command: str
    output: str


def tokens(page: Path) -> list[Token]:
    """Return the Markdown tokens of a page."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8"))


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in a language."""
    return [token.content for token in tokens(page) if token.type == "fence" and token.info == language]


def shown(page: Path) -> Iterator[Shown]:
    """Yield the commands of a page's console blocks with their outputs."""
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield Shown(page, command, output)


def printed(result: dict[str, object]) -> str:
    """Return what a command prints for the result that it writes with `--json`."""
    plan = "most_seconds" in result
    computed = {"seconds", "most_seconds", "untimed"} if plan else {"cached"}
    values = {name: value for name, value in result.items() if name not in {"schema_version", *computed}}
    values["root"] = f"…/{Path(str(result['root'])).name}"
    values |= {"url": "http://127.0.0.1:4200/runs/flow-run/…", "needs_serve": True}
    with redirect_stdout(io.StringIO()) as stream:
        if plan:
            show_plan(Plan.model_validate(values))
        elif "arms" in result:
            show_study(StudyResult.model_validate(values))
        else:
            show(RunResult.model_validate(values))
    return _stripped(stream.getvalue())


def redrawn(output: str) -> str:
    """Return the table of an output as the current code draws it."""
    title, _, table = output.partition("\n")
    head, *rows = (
        [cell.strip() for cell in line[1:-1].split(line[0])] for line in table.splitlines() if line[0] in "┃│"
    )
    with redirect_stdout(io.StringIO()) as stream:
        Screen().table([dict(zip(head, row, strict=True)) for row in rows], title)
    return _stripped(stream.getvalue())


def form(output: str) -> list[str]:
    """Return the lines of a run's output without what differs between machines: figures, names of runs, widths."""
    without = re.sub(r"\d{8}-\d{6}(-[a-z]+)+|(?<=/flow-run/)\S+|[-+]?\d(\d|[.,]\d)*", "#", output)
    return [re.sub(r"[━─ ]+", " ", line) for line in without.splitlines()]


def _stripped(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def main(page: str, command: str, result: str) -> None:
    """Write the output of a command into a page."""
    path = Path(page)
    (old,) = [one for one in shown(path) if one.command == command]
    new = printed(json.loads(Path(result).read_text()))
    text = path.read_text("utf-8")
    path.write_text(text.replace(f"$ {command}\n{old.output}", f"$ {command}\n{new}"), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

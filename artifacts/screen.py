"""Terminal output: the only module that turns text into what a terminal shows.

It writes strings, which may come from users, and renderables of rich to standard output or standard error. It
interprets no markup or emoji codes, does not highlight, and writes no control characters except those that rich itself
needs. If the stream is not a terminal that supports drawing, nothing is drawn, whatever FORCE_COLOR or TTY_COMPATIBLE
say.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tasks.safety.plain_text import isolate_right_to_left, printable

Rows = Sequence[Mapping[str, str | int | float]]

_PIPED_WIDTH = 240  # characters: a file or a program has no width, and must receive every name unbroken
# Characters of the longest cell that is never broken, such as an interval, and of the narrowest column of longer cells.
_SHORT, _MIN_WIDTH = 16, 12
_NAME = 48  # characters of the longest word that is never broken, such as a run's name; longer ones are paths or hashes
_FRAME = 3  # characters around the content of a column: a line and two spaces
# The space between a number and its unit, and its stand-in while rich breaks lines: rich breaks at every kind of space.
_UNIT_SPACE = re.compile(r"(?<=\d) (?=(?:%|s|MB)(?!\w))")
_UNBROKEN = "\ue000"  # private, so a user's own character is escaped before
_NUMBER = re.compile(r"[<+-]? ?[\d.,]+( ?(%|s|MB))?")


class Screen(Console):
    """Console that treats every string as plain text."""

    def __init__(self, *, err: bool = False) -> None:
        stream = sys.stderr if err else sys.stdout
        terminal = stream.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}
        super().__init__(
            file=Unescaped(stream),  # type: ignore[arg-type]  # it has all that rich needs of a stream
            force_terminal=terminal,
            force_interactive=terminal,
            width=None if stream.isatty() else _PIPED_WIDTH,
            soft_wrap=True,
            markup=False,
            emoji=False,
            highlight=False,
        )

    @property
    def spinner(self) -> str:
        """Name of a spinner whose characters the terminal's encoding contains."""
        return "dots" if self.draws_unicode else "line"

    @property
    def draws_unicode(self) -> bool:
        """Whether the terminal's encoding is a Unicode encoding."""
        return _is_unicode(self.encoding)

    def plain(self, text: str, keep: str = "") -> str:
        """Return a text in the characters of the terminal's encoding.

        The text is a single line unless `keep` contains the line break.
        """
        return printable(text, keep).encode(self.encoding, "backslashreplace").decode(self.encoding)

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string to plain text before its width is measured."""
        unbroken = _UNIT_SPACE.sub(_UNBROKEN, self.plain(text))
        return super().render_str(unbroken, **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render any renderable, and make the text plain that a renderable produced by itself."""
        for text, style, control in super().render(renderable, options):
            shown = text.replace(_UNBROKEN, " ")
            yield Segment(text, style, control) if control else Segment(self.plain(shown, keep="\n"), style)

    def say(self, text: str) -> None:
        """Print a sentence; on a terminal, break lines between words."""
        self.print(text, soft_wrap=not self.is_terminal, overflow="ignore", crop=False)

    def path(self, path: str, label: str = "") -> None:
        """Print a path on a line of its own, after a label if given.

        Its right-to-left words are not isolated, so that the path can be copied.
        """
        self.file.write_drawn(f"{label}{self.plain(path)}\n")  # type: ignore[attr-defined]  # the file is `Unescaped`

    def table(self, rows: Rows, title: str = "") -> None:
        """Print rows as a table, or cell by cell if the terminal is too narrow for unbroken numbers and names."""
        cells = {column: [column, *(str(row[column]) for row in rows)] for column in (rows[0] if rows else ())}
        widths = self.widths(list(cells.values()))
        if widths is None:
            self.print_cells(cells, title)
            return
        table = Table(title=title or None, title_justify="left")
        for (column, of), width in zip(cells.items(), widths, strict=True):
            justify: Any = "right" if _NUMBER.fullmatch(of[1]) else "left"
            table.add_column(column, width=width, justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*(str(row[column]) for column in cells))
        self.print(table)

    def widths(self, columns: Sequence[Sequence[str]]) -> list[int] | None:
        """Return the widths of the columns of a table in characters, or None if they do not fit side by side."""
        whole = [max(self.width_of(cell) for cell in of) for of in columns]
        words = [max((self.width_of(word) for cell in of for word in cell.split()), default=0) for of in columns]
        found = [
            most if most <= _SHORT else min(most, max(_MIN_WIDTH, min(word, _NAME)))
            for most, word in zip(whole, words, strict=True)
        ]
        spare = self.width - sum(found) - _FRAME * len(found) - 1
        if spare < 0:
            return None
        for rank in sorted(range(len(found)), key=lambda rank: whole[rank] - found[rank]):
            more = min(spare, whole[rank] - found[rank])
            found[rank] += more
            spare -= more
        return found

    def width_of(self, text: str) -> int:
        """Return the number of terminal cells that a text takes."""
        return cell_len(self.plain(text))

    def print_cells(self, cells: Mapping[str, Sequence[str]], title: str) -> None:
        """Print the cells of a table line by line, one row after the other.

        A terminal breaks only cells that are longer than a line.
        """
        if title:
            self.print(title, style="italic")
        width = max(self.width_of(column) for column in cells)
        for row in zip(*(of[1:] for of in cells.values()), strict=True):
            for column, cell in zip(cells, row, strict=True):
                if cell:
                    self.print(f"{column}{' ' * (width - self.width_of(column))}  {cell}")
            self.print()


class Unescaped:
    """Stream for rich that keeps the control characters that rich draws with.

    All other writers go through the streams of `flows/processes/streams.py`, which escape control characters. On a
    terminal, right-to-left words are isolated here, after rich has computed all widths. Only Unicode encodings contain
    the characters that isolate.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.isolates = stream.isatty() and _is_unicode(getattr(stream, "encoding", None) or "utf-8")
        self.write_drawn = getattr(stream, "write_drawn", stream.write)

    def write(self, text: str) -> int:
        """Write text that rich has drawn."""
        written: int = self.write_drawn(isolate_right_to_left(text) if self.isolates else text)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _is_unicode(encoding: str) -> bool:
    """Return whether an encoding is a Unicode encoding, by its name."""
    return encoding.lower().startswith("utf")

"""Screen: the one place where text becomes what a terminal shows.

In: strings, which are texts of users, and renderables of rich. Out: the same on standard output or standard error, without
markup, emoji codes or highlighting, and without any control character but those that rich itself needs to draw.
Where the stream is no terminal that can be drawn on, nothing is drawn, whatever FORCE_COLOR or TTY_COMPATIBLE say.
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

from tasks.safety.plain_text import printable

Rows = Sequence[Mapping[str, str | int | float]]

_PIPED_WIDTH = 240  # characters: a file or a program has no width, and wants every name in one piece
_SHORT, _LEAST = (
    16,
    12,
)  # characters of a cell that stays in one line, such as an interval, and of a column of longer ones
_NAME = 48  # characters of a name that is never broken, such as that of a run; a longer word is a path or a hash
_FRAME = 3  # characters that a column needs beside its own: a line and two spaces
_NUMBER = re.compile(r"[<+-]? ?[\d.,]+( ?(%|s|MB))?")


class Screen(Console):
    """A console to which every string is plain text."""

    def __init__(self, *, err: bool = False) -> None:
        stream = sys.stderr if err else sys.stdout
        terminal = stream.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}
        super().__init__(
            file=Unescaped(stream),  # type: ignore[arg-type]  # all that rich needs of a stream
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
        """The name of a spinner that the terminal has the characters for."""
        return "dots" if self.draws_unicode else "line"

    @property
    def draws_unicode(self) -> bool:
        """Whether the terminal has more characters than those of a language."""
        return self.encoding.startswith("utf")

    def plain(self, text: str, keep: str = "") -> str:
        """A text in the characters that the terminal has, in one line unless `keep` holds the line break."""
        return printable(text, keep).encode(self.encoding, "backslashreplace").decode(self.encoding)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text of a string, before its width is measured."""
        return super().render_str(self.plain(text), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Draw anything; what a renderable has made of a text by itself is made plain, too."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text, style, control) if control else Segment(self.plain(text, keep="\n"), style)

    def say(self, text: str) -> None:
        """Print a sentence; on a terminal, lines end between words."""
        self.print(text, soft_wrap=not self.is_terminal, overflow="ignore", crop=False)

    def table(self, rows: Rows, title: str = "") -> None:
        """Print rows as a table; where not every number and name would stay whole, one below the other."""
        cells = {column: [column, *(str(row[column]) for row in rows)] for column in (rows[0] if rows else ())}
        widths = self.widths(list(cells.values()))
        if widths is None:
            self.listed(cells, title)
            return
        table = Table(title=title or None, title_justify="left")
        for (column, of), width in zip(cells.items(), widths, strict=True):
            justify: Any = "right" if _NUMBER.fullmatch(of[1]) else "left"
            table.add_column(column, width=width, justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*(str(row[column]) for column in cells))
        self.print(table)

    def widths(self, columns: Sequence[Sequence[str]]) -> list[int] | None:
        """How wide the columns of a table may be; None if they do not fit side by side."""
        whole = [max(self.width_of(cell) for cell in of) for of in columns]
        words = [max((self.width_of(word) for cell in of for word in cell.split()), default=0) for of in columns]
        found = [
            most if most <= _SHORT else min(most, max(_LEAST, min(word, _NAME)))
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
        """How many characters a text takes on the terminal."""
        return cell_len(self.plain(text))

    def listed(self, cells: Mapping[str, Sequence[str]], title: str) -> None:
        """Print the cells of a table line by line, a row after the other; a terminal breaks only what is longer than a line."""
        if title:
            self.print(title, style="italic")
        width = max(self.width_of(column) for column in cells)
        for row in zip(*(of[1:] for of in cells.values()), strict=True):
            for column, cell in zip(cells, row, strict=True):
                if cell:
                    self.print(f"{column}{' ' * (width - self.width_of(column))}  {cell}")
            self.print()


class Unescaped:
    """A stream for rich, which draws with control characters, where `flows/processes/streams.py` escapes those of all
    others.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.write = getattr(stream, "write_drawn", stream.write)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

"""Screen: the one place where text becomes what a terminal shows.

In: strings, which are texts of users, and renderables of rich. Out: the same on standard output or standard error, without
markup, emoji codes or highlighting, and without any control character but those that rich itself needs to draw.
Where the stream is no terminal that can be drawn on, nothing is drawn, whatever FORCE_COLOR or TTY_COMPATIBLE say.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tasks.plain import shown

Rows = Sequence[Mapping[str, str | int | float]]

PIPED_WIDTH = 240  # characters: a file or a program has no width, and wants every name in one piece
LONGEST = 24  # characters of a cell that is never broken: longer ones are texts or paths, which may be, into pieces no shorter
FRAME = 3  # characters that a column needs beside its own: a line and two spaces


class Screen(Console):
    """A console to which every string is plain text."""

    def __init__(self, *, err: bool = False) -> None:
        stream = sys.stderr if err else sys.stdout
        terminal = stream.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}
        super().__init__(
            file=Unescaped(stream),  # type: ignore[arg-type]  # all that rich needs of a stream
            force_terminal=terminal,
            force_interactive=terminal,
            width=None if stream.isatty() else PIPED_WIDTH,
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
        return shown(text, keep).encode(self.encoding, "backslashreplace").decode(self.encoding)

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
        """Print rows, as a table where every number fits into one line, else one below the other."""
        columns = list(rows[0]) if rows else []
        cells = {column: [column, *(str(row[column]) for row in rows)] for column in columns}
        widths = {column: max(cell_len(self.plain(cell)) for cell in of) for column, of in cells.items()}
        if sum(min(width, LONGEST) + FRAME for width in widths.values()) + 1 > self.width:
            self.listed(cells, title)
            return
        table = Table(title=title or None, title_justify="left")
        for column, width in widths.items():
            right = is_number(cells[column][1])
            table.add_column(column, justify="right" if right else "left", no_wrap=width <= LONGEST, overflow="fold")
        for row in rows:
            table.add_row(*(str(row[column]) for column in columns))
        self.print(table)

    def listed(self, cells: Mapping[str, Sequence[str]], title: str) -> None:
        """Print the cells of a table line by line, a row after the other; a terminal breaks only what is longer than a line."""
        if title:
            self.print(title, style="italic")
        width = max(cell_len(self.plain(column)) for column in cells)
        for row in zip(*(of[1:] for of in cells.values()), strict=True):
            for column, cell in zip(cells, row, strict=True):
                if cell:
                    self.print(f"{column}{' ' * (width - cell_len(self.plain(column)))}  {cell}")
            self.print()


def is_number(cell: str) -> bool:
    """Whether a cell begins with a number, as those of its column do."""
    return cell.lstrip("+-< ")[:1].isdigit() and cell[-1:] in set("0123456789%s°")


class Unescaped:
    """A stream for rich, which draws with control characters, where `flows/streams.py` escapes those of all others."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.write = getattr(stream, "write_drawn", stream.write)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

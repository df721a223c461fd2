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
# Characters of the longest cell that is never broken, and of the narrowest column of longer cells.
_SHORT, _MIN_WIDTH = 16, 12
_TEXT = 24  # characters: longer cells are broken between words before any column is left out
_NAME = 48  # characters of the longest word that is never broken, such as a run's name; longer ones are paths or hashes
_FRAME = 3  # characters around the content of a column: a line and two spaces
# The spaces within a number with its unit, an interval, a size, a time, a p-value, or a short name with its percentage, and
# their stand-in while lines are broken: rich breaks lines at every kind of space.
_INNER_SPACE = re.compile(
    r"(?<=\d) (?=(?:%|s|MB|points?)(?!\w)|(?:to|±|x) ?[-+]?\d)|(?<=\d to) (?=[-+]?\d)|(?<=\d x) (?=\d)"
    r"|(?<=±) (?=\d)|(?<=\d-\d\d) (?=\d\d:\d\d)|(?<= p) (?=[=<] \d)|(?<= p [=<]) (?=\d)|\b\w{1,24} (?=\d[\d.]* %)"
)
_UNBROKEN = "\ue000"  # private, so a user's own character is escaped before
_NUMBER = re.compile(r"[<+-]? ?[\d.,]+( ?(%|s|MB))?")


class Screen(Console):
    """Console that treats every string as plain text.

    With `wide`, tables have all their columns and no line is broken, however narrow the terminal.
    """

    def __init__(self, *, err: bool = False, wide: bool = False) -> None:
        stream = sys.stderr if err else sys.stdout
        terminal = stream.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}
        super().__init__(
            file=Unescaped(stream),  # type: ignore[arg-type]  # it has all that rich needs of a stream
            force_terminal=terminal,
            force_interactive=terminal,
            width=None if stream.isatty() and not wide else _PIPED_WIDTH,
            soft_wrap=True,
            markup=False,
            emoji=False,
            highlight=False,
        )
        self.breaks_lines = self.is_terminal and not wide

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

    def unbroken(self, text: str) -> str:
        """Return a text as one line in which the spaces within numbers with units and intervals are replaced."""
        return _INNER_SPACE.sub(lambda found: found[0].replace(" ", _UNBROKEN), self.plain(text))

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string to plain text before its width is measured."""
        return super().render_str(self.unbroken(text), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render any renderable, and make the text plain that a renderable produced by itself."""
        for text, style, control in super().render(renderable, options):
            shown = text.replace(_UNBROKEN, " ")
            yield Segment(text, style, control) if control else Segment(self.plain(shown, keep="\n"), style)

    def say(self, text: str) -> None:
        """Print a sentence; on a terminal, break lines between words."""
        for line in self.lines(text, self.width):
            self.print(line, soft_wrap=True, overflow="ignore", crop=False)

    def lines(self, text: str, width: int) -> list[str]:
        """Return a text as lines of a width, broken between words; a longer word has a line of its own."""
        if not self.breaks_lines:
            return [text]
        first, *rest = self.unbroken(text).split(" ")
        lines = [first]
        for word in rest:
            longer = f"{lines[-1]} {word}"
            lines[-1:] = [longer] if cell_len(longer) <= width else [lines[-1], word]
        return [line.replace(_UNBROKEN, " ") for line in lines]

    def path(self, path: str, label: str = "") -> None:
        """Print a path on a line of its own, after a label if given.

        Its right-to-left words are not isolated, so that the path can be copied.
        """
        self.file.write_drawn(f"{label}{self.plain(path)}\n")  # type: ignore[attr-defined]  # the file is `Unescaped`

    def table(self, rows: Rows, title: str = "", drop: Sequence[str] = (), names: Sequence[str] = ()) -> None:
        """Print rows as a table, or cell by cell if the terminal is too narrow for unbroken numbers and names.

        If the terminal is too narrow for all columns, those in `drop` are left out, the first one first, until the
        others fit. A line names them. The cells of the columns in `names`, such as file names, are never broken, however
        long, not even at a space.
        """
        cells = {column: [column, *(str(row[column]) for row in rows)] for column in (rows[0] if rows else ())}
        for line in self.lines(title, self.width) if title else ():
            self.print(line, style="italic")
        bounds = {column: self.bounds(of, is_name=column in names) for column, of in cells.items()}
        dropped = self.columns_to_drop(bounds, drop)
        shown = {column: of for column, of in cells.items() if column not in dropped}
        widths = self.widths([(cells[column][0], *bounds[column]) for column in shown])
        if widths is None:
            self.print_cells(cells, names)
            return
        table = Table()
        for (column, of), width in zip(shown.items(), widths, strict=True):
            justify: Any = "right" if _NUMBER.fullmatch(of[1]) else "left"
            table.add_column(column, width=width, justify=justify, overflow="fold", no_wrap=column in names)
        for row in zip(*(of[1:] for of in shown.values()), strict=True):
            table.add_row(*row)
        self.print(table)
        if dropped:
            self.say(f"not shown: {'; '.join(dropped)} (--wide and --json show all columns)")

    def columns_to_drop(self, bounds: Mapping[str, tuple[int, int]], drop: Sequence[str]) -> list[str]:
        """Return the columns that are left out so that the others, with their `bounds`, fit the terminal."""
        kept, dropped = dict(bounds), list[str]()
        for column in drop if self.breaks_lines else ():
            if self.spare([min(whole, max(_TEXT, least)) for whole, least in kept.values()]) >= 0:
                break
            if kept.pop(column, None):
                dropped.append(column)
        return dropped

    def widths(self, columns: Sequence[tuple[str, int, int]]) -> list[int] | None:
        """Return the widths of the columns of a table in characters, or None if they do not fit side by side.

        Each column is given by its heading and its bounds.
        """
        found = [least for _, _, least in columns]
        spare = self.spare(found)
        if spare < 0:
            return None
        whole = [max(most, self.width_of(heading)) for heading, most, _ in columns]
        for rank in sorted(range(len(found)), key=lambda rank: whole[rank] - found[rank]):
            more = min(spare, whole[rank] - found[rank])
            found[rank] += more
            spare -= more
        return found

    def bounds(self, column: Sequence[str], *, is_name: bool = False) -> tuple[int, int]:
        """Return the widths at which no cell of a column is broken, and at which no number and no name is.

        If each cell `is_name`, both are the same.

        The first cell is the heading, which may be broken between any words.
        """
        head, *cells = column
        heading = self.longest_word(head)
        whole = max((self.width_of(cell) for cell in cells), default=0)
        word = max((self.longest_word(cell) for cell in cells), default=0)
        least = whole if is_name or whole <= _SHORT else min(whole, max(_MIN_WIDTH, min(word, _NAME)))
        return max(heading, whole), max(heading, least)

    def spare(self, widths: Sequence[int]) -> int:
        """Return how many characters a table of these widths leaves on a line; negative if it does not fit."""
        return self.width - sum(widths) - _FRAME * len(widths) - 1

    def longest_word(self, text: str) -> int:
        """Return the number of terminal cells of the longest part of a text that is not broken."""
        return max((cell_len(word) for word in self.unbroken(text).split()), default=0)

    def width_of(self, text: str) -> int:
        """Return the number of terminal cells that a text takes."""
        return cell_len(self.plain(text))

    def print_cells(self, cells: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
        """Print the cells of a table line by line, one row after the other.

        A terminal breaks only words and `names` that are longer than a line.
        """
        indent = max(self.width_of(column) for column in cells) + 2
        for row in zip(*(of[1:] for of in cells.values()), strict=True):
            for column, cell in zip(cells, row, strict=True):
                if cell:
                    first, *rest = [cell] if column in names else self.lines(cell, self.width - indent)
                    self.print(f"{column}{' ' * (indent - self.width_of(column))}{first}")
                    for line in rest:
                        self.print(f"{' ' * indent}{line}")
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

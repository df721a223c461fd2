"""Rows of tables, for templates and for Prefect's table artifacts."""

import re
from collections.abc import Mapping, Sequence

from tasks.safety.plain_text import printable

Row = Mapping[str, str | int | float]
NO_WIDTH = "\u200b"
# After the bracket of a link, a tag or an entity, and before the mark of a list, a heading or a quotation.
_MARKDOWN = re.compile(r"(?<=])(?=[(\[:])|(?<=<)(?=[\w/!?])|(?<=&)(?=[\w#])|^(?=[-+=#>*~`_]|\d+[.)](?: |$))")
COLUMN_NAMES = ("label", "predicted", "all models say")  # columns whose numbers, if they are any, are names


def row(fixed: Row, *named: tuple[str, Row]) -> Row:
    """A row whose further columns are headed by the names of models, each with what follows the name.

    A model may be named like a column: such a name is told apart by a word, since names hold no space.
    """
    further = {f"{name}{suffix}": value for name, cells in named for suffix, value in cells.items()}
    taken = {*fixed, *COLUMN_NAMES}
    return {**fixed, **{f"model {column}" if column in taken else column: value for column, value in further.items()}}


def for_ui(rows: Sequence[Row]) -> list[dict[str, str | int | float]]:
    """Rows for a table artifact: one of Prefect's UIs takes a cell for Markdown, the other for text, so nothing can be escaped.

    A space of no width takes apart what would be a link, HTML, a list or a heading, and shows in neither.
    """
    return [
        {
            column: _MARKDOWN.sub(NO_WIDTH, printable(cell)) if isinstance(cell, str) else cell
            for column, cell in row.items()
        }
        for row in rows
    ]

"""Build table rows for the templates and for Prefect's table artifacts."""

import re
from collections.abc import Mapping, Sequence, Set

from artifacts.common.formatting import p_value, significant
from tasks.safety.plain_text import printable

Row = Mapping[str, str | int | float]
TableArtifact = tuple[str, str, Sequence[Row]]  # key, description and rows
NO_WIDTH = "\u200b"
# Positions after the bracket of a link, a tag or an entity, after a backslash, within an address, and before the marker
# of a list, a heading, a quotation or a code block.
_MARKDOWN = re.compile(
    r"(?<=])(?=[(\[:])|(?<=<)(?=[\w/!?])|(?<=&)(?=[\w#])|(?<=\\)(?=[!-/:-@\[-`{-~])|(?<=:)(?=//)|(?<=www)(?=\.)|(?<=\w@)(?=\w)"
    r"|^(?=[-+=#>\s]|\d+[.)](?: |$))",
    re.IGNORECASE,
)
# Characters of emphasis and code. An underscore within a word, as in `batch_norm`, is neither.
_INLINE = re.compile(r"[*~`]|(?<!\w)_+|_+(?!\w)")
_LOOK_ALIKES = str.maketrans({"*": "∗", "_": "ˍ", "~": "∼", "`": "ˋ"})
HOLM = "p-values corrected with Holm's method"
COLUMN_NAMES = ("label", "predicted", "predicted by all models")  # columns of class names, which can be digits


def row(fixed: Row, *named: tuple[str, Row]) -> Row:
    """Return a row of fixed columns, followed by the columns of each model.

    Args:
        fixed: The fixed columns.
        named: The name of each model with its columns. The model's name is prepended to each column name. If the result
            equals another column name, it gets the prefix "model ", which is unambiguous because model names have no
            spaces.
    """
    further = {f"{name}{suffix}": value for name, cells in named for suffix, value in cells.items()}
    taken = {*fixed, *COLUMN_NAMES}
    return {**fixed, **{f"model {column}" if column in taken else column: value for column, value in further.items()}}


def distinct_columns(names: Sequence[str], taken: Sequence[str], kind: str) -> list[str]:
    """Return column names for user-defined names, none of which equals a fixed column.

    Args:
        names: The user-defined names, all different.
        taken: The names of the fixed columns.
        kind: The prefix of a name that equals a fixed column, repeated until the result equals no other column.

    Examples:
        >>> distinct_columns(["label", "7"], ["path", "label"], "class")
        ['class label', '7']
    """
    return [_distinct(name, {*taken}, {*taken, *names}, kind) for name in names]


def _distinct(name: str, taken: Set[str], all_names: Set[str], kind: str) -> str:
    """Return one column name for `distinct_columns`."""
    if name not in taken:
        return name
    while name in all_names:
        name = f"{kind} {name}"
    return name


def p_value_cells(p: float) -> Row:
    """Return the cells of a corrected p-value."""
    return {"p": p_value(p), "significant": significant(p)}


def for_ui(rows: Sequence[Row]) -> list[dict[str, str | int | float]]:
    """Return rows for a Prefect table artifact, with Markdown and HTML disabled."""
    return [
        {column: text_for_ui(cell) if isinstance(cell, str) else cell for column, cell in row.items()} for row in rows
    ]


def text_for_ui(text: str) -> str:
    """Return a cell or a description of a Prefect artifact, with Markdown and HTML disabled.

    One of Prefect's UIs renders both as Markdown and the other as plain text, so they can't be escaped. Instead, a
    zero-width space breaks up anything that would become a link, HTML, a list or a heading; it is invisible in both.
    Characters of emphasis, which a space does not disable, are replaced by characters that look alike.
    """
    return _INLINE.sub(lambda found: found[0].translate(_LOOK_ALIKES), _MARKDOWN.sub(NO_WIDTH, printable(text)))

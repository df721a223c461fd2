"""Create the Jinja environment, and escape text that users write so that it has no effect in Markdown or HTML."""

import html
import re
from collections.abc import Iterable, Sequence
from functools import cache

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from artifacts.common import formatting
from artifacts.common import rows as common_rows
from tasks.safety.plain_text import isolate_right_to_left, printable

# Prefect's UI in a window of 1400 pixels: the pixels of a table's width, of a font's size and of a cell's padding, and
# the most cells in a row.
_WIDE, _SIZE, _PADDING, _MAX_ACROSS = 829, 12.5, 26, 4
_NUMBER = re.compile(r"(< )?[+-]?[\d.,]+( to [+-]?[\d.,]+)?( %| s)?|[-\u2013]")

_SPECIAL = re.compile(r"[\\`*_{}\[\]|#~]")
# The marker of a list, or the underline of a heading.
_BEGINNING = re.compile(r"^(\d{1,9}(?=[.)](?: |$))|(?=[-+](?: |$)|[-=]+$))")


@cache
def template_environment() -> Environment:
    """Return the Jinja environment of all templates, with their filters and globals."""
    made = Environment(
        loader=ChoiceLoader(
            [PackageLoader("artifacts", f"{folder}/templates") for folder in ("common", "report", "study")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else _shown(value),
    )
    made.globals["formatting"] = formatting
    made.filters |= {
        "percent": formatting.percent,
        "probability": formatting.probability,
        "name": markdown_name,
        "plain": plain,
        "table": table,
    }
    return made


def _shown(text: str) -> str:
    """Return a text with unprintable characters escaped and right-to-left words isolated."""
    return isolate_right_to_left(printable(text))


def markdown_name(text: object) -> Markup:
    r"""Return Markdown that shows a user's text literally, with any Markdown and HTML in the text escaped.

    Examples:
        >>> print(markdown_name("*a* <b>"))
        \*a\* &lt;b&gt;
    """
    line = _SPECIAL.sub(r"\\\g<0>", html.escape(_shown(" ".join(str(text).split())), quote=False))
    return Markup(_BEGINNING.sub(r"\1\\", line))  # noqa: S704  # escaped here


def plain(text: object) -> Markup:
    """Return a user's text, escaped for HTML within Markdown, including table cells."""
    return Markup(html.escape(_shown(" ".join(str(text).split()))).replace("|", "&#124;"))  # noqa: S704  # escaped here


def table(rows: Sequence[common_rows.Row]) -> Markup:
    """Return rows as a Markdown table, with numeric columns aligned to the right."""
    if not rows:
        return Markup("None.")
    columns = list(rows[0])
    rule = [
        "---:" if _NUMBER.fullmatch(str(rows[0][one])) and one not in common_rows.COLUMN_NAMES else "---"
        for one in columns
    ]
    head = [markdown_name(column) for column in columns]
    body = [[markdown_name(row[column]) for column in columns] for row in rows]
    lines: list[Sequence[str]] = [head, rule, *body]
    return Markup("\n").join(_markdown_line(cells) for cells in lines)


def _markdown_line(cells: Iterable[str]) -> Markup:
    return Markup("| {} |").format(Markup(" | ").join(Markup(cell) for cell in cells))  # noqa: S704  # escaped by `markdown_name`


def picture_table(cells: Sequence[tuple[str, str]]) -> Markup:
    """Return pictures as a Markdown table, each above its caption.

    Each cell is a pair of picture and caption, both already Markdown. A row has as many pictures as fit in Prefect's
    UI.
    """
    lines: list[str] = []
    across = images_across([caption for _, caption in cells])
    for start in range(0, len(cells), across):
        row = cells[start : start + across]
        lines += [_markdown_line(picture for picture, _ in row), _markdown_line(caption for _, caption in row)]
        if start == 0:
            lines.insert(1, _markdown_line(":---:" for _ in row))
    return Markup("\n").join(Markup(line) for line in lines)  # noqa: S704  # escaped by `markdown_name`


def images_across(captions: Sequence[str]) -> int:
    """Return the number of captions that fit side by side in Prefect's UI.

    The widest line of any caption determines the number, because Prefect's UI does not wrap captions.
    """
    widest = max((_line_width(line) for one in captions for line in one.split("<br>")), default=0.0)
    return max(1, min(_MAX_ACROSS, int(_WIDE / (widest + _PADDING))))


def _line_width(line: str) -> float:
    """Return an upper bound of the width in pixels of a line of Markdown in Prefect's UI."""
    text = html.unescape(re.sub(r"[\\*]", "", line))
    return formatting.breadth(text, _SIZE, bold="**" in line)

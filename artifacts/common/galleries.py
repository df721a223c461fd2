"""Draw image galleries: as Markdown tables of enlarged images, and as HTML cards of small ones that the page enlarges."""

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from artifacts.common.formatting import counted
from artifacts.common.images import heat_url, jpeg_url, left_out_url, picture_url, shown_at
from artifacts.common.templating import markdown_name, picture_table, plain, template_environment

REST = "the predictions for all images are in the files listed under \u201cProvenance\u201d"


def caption_image(
    pixels: str, shape: Sequence[int], number: int, label: str, lines: Iterable[str], split: str = "test"
) -> tuple[str, str]:
    """Return an enlarged image of a split as an `<img>` element, and its caption: its label, and lines of Markdown."""
    alt = plain(f"{split} image {number}, labeled {label}")
    image = f'<img width="{shown_at(shape)[1]}" alt="{alt}" src="{picture_url(pixels, tuple(shape))}">'
    return image, "<br>".join((f"#{number}, label **{markdown_name(label)}**", *lines))


def image_table(cells: Sequence[tuple[str, str]], held: int, total: int, place: str) -> Markup:
    """Return images as a Markdown table, followed by the number of images shown and the total."""
    count = (
        Markup("\n\n{}").format(markdown_name(count_noun(len(cells), held, total, place))) if len(cells) < total else ""
    )
    return picture_table(cells) + count


def cards(template: str, macro: str, *arguments: object, shape: Sequence[int], **names: Any) -> Markup:
    """Return the output of a macro as one line, because a blank line would end the HTML within Markdown."""
    # Not `get_template(..., globals=...)`: Jinja caches the first module, which holds the first shape.
    module = template_environment().get_template(template).make_module({
        "tiny": lambda pixels: picture_url(pixels, tuple(shape), 1),
        "heat": lambda heat: heat_url(heat, shape, 1),
        "photo": jpeg_url,
        "left_out": left_out_url,
        "color": bool(shape[2:]),
        "wide": shown_at(shape)[1],
        "high": shown_at(shape)[0],
        "some_of": some_of,
        "more_of": more_of,
        "rest": REST,
        **names,
    })  # fmt: skip
    return Markup(" ".join(str(getattr(module, macro)(*arguments)).split()))  # noqa: S704  # escaped by Jinja


def count_noun(shown: int, held: int, total: int, place: str) -> str:
    """Return how many images a gallery in Markdown shows, the total, and where the other images are."""
    if shown == total:
        return f"{some_of(shown, total)}."
    there = f"{place} shows all" if held == total else f"{place} shows {held:,}; {REST}"
    return f"{some_of(shown, total)}; {there}."


def more_of(held: int, total: int) -> str:
    """Return the label of the control that opens a gallery."""
    return "show all" if held == total else f"show the {held:,} in this report"


def some_of(shown: int, total: int) -> str:
    """Return how many images are shown out of a total."""
    return f"{shown:,} of {counted(total, 'image')}"

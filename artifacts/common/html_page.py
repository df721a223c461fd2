"""Render a Markdown text as one self-contained HTML page."""

import base64
import hashlib
import html
import re
from importlib import resources
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from artifacts.common.templating import template_environment


def page(markdown: str, title: str) -> str:
    """Return a Markdown text as one HTML page that needs no other file, with a table of contents."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(markdown)
    contents = _numbered_headings(tokens)
    script = resources.files("artifacts").joinpath("common/templates/page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        template_environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            contents=contents,
            body=Markup(parser.renderer.render(tokens, parser.options, {})),  # noqa: S704  # already escaped
            script=Markup(script),  # noqa: S704  # not user input
            script_hash=f"sha256-{digest}",
        )
    )


def _numbered_headings(tokens: list[Token]) -> list[tuple[str, str]]:
    """Give every second-level heading an id, and return the ids and the texts in order."""
    contents: list[tuple[str, str]] = []
    for opened, inline in pairwise(tokens):
        if opened.type == "heading_open" and opened.tag == "h2":
            identity = f"part-{len(contents) + 1}"
            opened.attrSet("id", identity)
            contents.append((identity, html.unescape(re.sub(r"\\(.)", r"\1", inline.content))))
    return contents

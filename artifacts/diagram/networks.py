"""Networks: the diagram of each model of a report, with the same as text.

In: the architectures of a report's models. Out: for each model what its page and its artifact show. Beside the post's network
stands VGG-16, which it was shrunk from.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup

from artifacts.common.formatting import UNDEFINED
from artifacts.common.rows import Row
from artifacts.diagram.boxes import details_of, shape_said
from artifacts.diagram.drawing import NARROW, TOO_MANY, svg, svg_url
from artifacts.diagram.vgg import is_shrunk_vgg, vgg16
from tasks.schemas.architecture import Architecture

_AT_ONCE = 40  # layers, up to which a diagram is shown without being asked for


class DrawnNetwork(NamedTuple):
    """One model, drawn: for wide and narrow pages, as a URL, and as a table; without pictures where it has too many layers."""

    name: str
    summary: str
    wide: Markup
    narrow: Markup
    url: str
    rows: Sequence[Row]
    at_once: bool
    shrunk: bool  # whether it is the post's
    original: bool  # whether it is the one that the post's was shrunk from


def networks_of(architectures: Iterable[Architecture]) -> tuple[DrawnNetwork, ...]:
    """Every model, drawn, and VGG-16 at the end if one of them was shrunk from it."""
    shown = _with_original(architectures)
    return tuple(_network_of(one, f"network-{rank}") for rank, one in enumerate(shown, 1))


def _with_original(architectures: Iterable[Architecture]) -> list[Architecture]:
    """The models of a report, and VGG-16 if one of them was shrunk from it."""
    described = list(architectures)
    return [*described, *([vgg16()] if any(map(is_shrunk_vgg, described)) else [])]


def _network_of(architecture: Architecture, identity: str) -> DrawnNetwork:
    """One model, drawn."""
    original = architecture == vgg16()
    title = "VGG-16" if original else architecture.name
    count = sum(1 for _ in architecture.layers())
    summary = f"{title}: {count:,} layer{'' if count == 1 else 's'}, {architecture.parameters:,} parameters"
    drawn = count <= TOO_MANY
    caption = f"The layers of {title}"
    return DrawnNetwork(
        name=title,
        summary=f"{summary}, from which the post shrunk its own" if original else summary,
        # Both are escaped where they are drawn.
        wide=Markup(svg(architecture, caption, f"{identity}-wide") if drawn else ""),  # noqa: S704
        narrow=Markup(svg(architecture, caption, f"{identity}-narrow", NARROW) if drawn else ""),  # noqa: S704
        url=svg_url(architecture, caption) if drawn else "",
        rows=list(layer_rows(architecture)),
        at_once=count <= _AT_ONCE,
        shrunk=is_shrunk_vgg(architecture),
        original=original,
    )


def layer_rows(architecture: Architecture, within: str = "") -> Iterator[Row]:
    """One row a layer, those of a model within it after its own."""
    for node in architecture.nodes:
        yield {
            "layer": f"{within}{node.key}",
            "type": node.kind,
            "settings": ", ".join(details_of(node)) or UNDEFINED,
            "output": shape_said(node.shape) or UNDEFINED,
            "parameters": f"{node.parameters:,}",
            "takes from": ", ".join(node.inputs) or UNDEFINED,
        }
        if node.inner:
            yield from layer_rows(node.inner, f"{within}{node.key} / ")

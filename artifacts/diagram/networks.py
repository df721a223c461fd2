"""Diagrams and layer tables of the models of a report, for its pages and artifacts.

If a model is the network of the post, VGG-16, from which that network was derived, is added.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup

from artifacts.common.formatting import UNDEFINED, counted
from artifacts.common.rows import Row
from artifacts.diagram.boxes import details_of, format_shape
from artifacts.diagram.drawing import NARROW, TOO_MANY, svg, svg_url
from artifacts.diagram.vgg import is_shrunk_vgg, vgg16
from tasks.schemas.architecture import Architecture

_AT_ONCE = 40  # most layers of a diagram that is shown without a click


class DrawnNetwork(NamedTuple):
    """Diagram of one model for wide and narrow pages and as a data URL, and its layers as table rows.

    A model with too many layers has no pictures.
    """

    name: str
    summary: str
    wide: Markup
    narrow: Markup
    url: str
    rows: Sequence[Row]
    at_once: bool
    shrunk: bool  # whether this is the network of the post
    original: bool  # whether this is VGG-16, from which the network of the post was derived


def networks_of(architectures: Iterable[Architecture]) -> tuple[DrawnNetwork, ...]:
    """Return the diagram of every model, followed by VGG-16 if one of the models was derived from it."""
    described = list(architectures)
    shown = [*described, vgg16()] if any(map(is_shrunk_vgg, described)) else described
    return tuple(_network_of(one, f"network-{rank}") for rank, one in enumerate(shown, 1))


def _network_of(architecture: Architecture, identity: str) -> DrawnNetwork:
    original = architecture == vgg16()
    title = "VGG-16" if original else architecture.name
    count = sum(1 for _ in architecture.layers())
    summary = f"{title}: {counted(count, 'layer')}, {architecture.parameters:,} parameters"
    drawn = count <= TOO_MANY
    caption = f"The layers of {title}"
    return DrawnNetwork(
        name=title,
        summary=f"{summary}; the post derived its network from it" if original else summary,
        # `svg` escapes all texts.
        wide=Markup(svg(architecture, caption, f"{identity}-wide") if drawn else ""),  # noqa: S704
        narrow=Markup(svg(architecture, caption, f"{identity}-narrow", NARROW) if drawn else ""),  # noqa: S704
        url=svg_url(architecture, caption) if drawn else "",
        rows=list(layer_rows(architecture)),
        at_once=count <= _AT_ONCE,
        shrunk=is_shrunk_vgg(architecture),
        original=original,
    )


def layer_rows(architecture: Architecture, within: str = "") -> Iterator[Row]:
    """Yield one row for each layer; the layers of an inner model follow its own row."""
    for node in architecture.nodes:
        yield {
            "layer": f"{within}{node.key}",
            "type": node.kind,
            "settings": ", ".join(details_of(node)) or UNDEFINED,
            "output": format_shape(node.shape) or UNDEFINED,
            "parameters": f"{node.parameters:,}",
            "inputs": ", ".join(node.inputs) or UNDEFINED,
        }
        if node.inner:
            yield from layer_rows(node.inner, f"{within}{node.key} / ")

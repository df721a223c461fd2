"""Drawing of an architecture as SVG.

The result is an `<svg>` element to embed in a page, or a standalone file. Both work with screen readers and in dark
mode: an embedded diagram takes the page's color, a standalone diagram follows the system's preference.
"""

import base64
import html
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import accumulate
from typing import NamedTuple

from artifacts.common.formatting import breadth, counted
from artifacts.diagram.boxes import (
    ORDER,
    SMALL,
    Box,
    boxes_of,
    details_of,
    format_parameters,
    format_shape,
    kind_of,
    label_of,
)
from artifacts.diagram.layout import ARROW, Layout, Point, Room, layout
from tasks.schemas.architecture import Architecture, Node

# Widths in pixels: eight columns on a screen, six in Prefect's UI, three on a phone.
WIDE, _MIDDLE, NARROW = 976, 736, 376
_LEADING = 12.5  # distance between the lines of a label, in pixels
TOO_MANY = 250  # most layers that a readable diagram can show
_MAX_DESCRIBED = 40  # layers that the description lists individually
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # not allowed in XML 1.0
_HEADING = 20.0  # height of the title above the diagram of an inner model, in pixels


class Part(NamedTuple):
    """A model or a model within it: its title, its nodes as drawn, and the calls that each drawn node represents."""

    title: str
    nodes: tuple[Node, ...]
    calls: dict[str, tuple[Node, ...]]


def svg(architecture: Architecture, title: str, identity: str, width: int = WIDE, *, standalone: bool = False) -> str:
    """Return the diagram of a model on one line, for a page that is `width` pixels wide.

    The ids of the elements begin with `identity`, which must be unique within the page. A `standalone` diagram is
    a file with its own style and background.

    Raises:
        ValueError: If the model has too many layers to be drawn.
    """
    if (count := sum(1 for _ in architecture.layers())) > TOO_MANY:
        raise ValueError(f"{count:,} layers are too many for a diagram")
    parts = list(models_within(architecture))
    drawn = [drawing(part, width, titled=rank > 0) for rank, part in enumerate(parts)]
    kinds = [kind for kind in ORDER if any(kind_of(node) == kind for part in parts for node in part.nodes)]
    broad = max(one.width for one, _ in drawn)
    *tops, bottom = accumulate((one.height + _HEADING * (rank > 0) for rank, (one, _) in enumerate(drawn)), initial=0.0)
    key, height = _legend(kinds, bottom + 4, broad)
    body = "".join(
        f'<g transform="translate(0 {number(top)})">{text}</g>' for top, (_, text) in zip(tops, drawn, strict=True)
    )
    description = (
        f'<title id="{identity}-t">{_escape_xml(title)}</title>'
        f'<desc id="{identity}-d">{_escape_xml(_description(architecture))}</desc>'
    )
    size = f'viewBox="0 0 {number(broad)} {number(height)}" width="{number(broad)}" height="{number(height)}"'
    named = f'role="img" aria-labelledby="{identity}-t {identity}-d"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="network" {size} {named}>'
    paper = f'<style>{style()}</style><rect class="paper" width="100%" height="100%"/>' if standalone else ""
    return f"{head}{description}{paper}{body}{key}</svg>"


def svg_url(architecture: Architecture, title: str) -> str:
    """Return a standalone diagram as a data URL."""
    drawn = svg(architecture, title, "network", _MIDDLE, standalone=True)
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}"


def style() -> str:
    """Return the style of a standalone diagram: the style of the page, with its own colors and background."""
    text = resources.files("artifacts").joinpath("common/templates/diagram.css").read_text("utf-8")
    standalone = (
        ".network{color:#1c1e21;background:#fff}.paper{fill:#fff}"
        "@media (prefers-color-scheme:dark){.network{color:#e6e8eb;background:#1b1e23}.paper{fill:#1b1e23}}"
    )
    return re.sub(r"\s+", " ", standalone + text).strip()


def models_within(architecture: Architecture) -> Iterator[Part]:
    """Yield the model, then each model within it.

    Inner models that differ only in names and weights are yielded once.
    """
    yield _part_of(architecture, architecture.name)
    seen: set[str] = set()
    for node in architecture.nodes:
        if node.inner and (form := _form_of(node.inner)) not in seen:
            seen.add(form)
            alike = sum(1 for one in architecture.nodes if one.inner and _form_of(one.inner) == form)
            first, *others = models_within(node.inner)
            yield first._replace(title=f"Within {node.name}{f' and {alike - 1} alike' if alike > 1 else ''}")
            yield from others


def _part_of(architecture: Architecture, title: str) -> Part:
    """Return the nodes of a model as drawn.

    Calls of inner models of the same structure share one box if the same layers use their outputs, so that an ensemble
    of ten networks is not drawn as ten boxes.
    """
    nodes = {node.key: node for node in architecture.nodes}
    consumers: dict[str, list[str]] = {key: [] for key in nodes}
    for key, node in nodes.items():
        for source in node.inputs:
            consumers[source].append(key)
    forms = {node.name: _form_of(node.inner) for node in nodes.values() if node.inner}
    groups: dict[object, list[Node]] = {}
    for key, node in nodes.items():
        group = (forms[node.name], *consumers[key]) if node.name in forms else key
        groups.setdefault(group, []).append(node)
    stands_for = {node.key: group[0].key for group in groups.values() for node in group}
    drawn = [
        group[0].model_copy(
            update={
                "inputs": tuple(dict.fromkeys(stands_for[source] for node in group for source in node.inputs)),
                "parameters": sum(node.parameters for node in group),
            }
        )
        for group in groups.values()
    ]
    return Part(title, _sorted_nodes(drawn), {group[0].key: tuple(group) for group in groups.values()})


def _sorted_nodes(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return the nodes in topological order, since a node that represents several has the inputs of all of them."""
    waiting, known, found = list(nodes), set[str](), list[Node]()
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.inputs)]
        if not ready:
            raise ValueError("the layers form a cycle")
        found += ready
        known |= {node.key for node in ready}
        waiting = [node for node in waiting if node.key not in known]
    return tuple(found)


def _form_of(architecture: Architecture) -> str:
    """Return a text that is equal for models that differ only in names and weights."""
    places = {node.key: str(place) for place, node in enumerate(architecture.nodes)}
    return "\n".join(
        node.model_copy(
            update={
                "key": "",
                "name": "",
                "inputs": tuple(places[one] for one in node.inputs),
                "inner": None,
            }
        ).model_dump_json()
        + (_form_of(node.inner) if node.inner else "")
        for node in architecture.nodes
    )


def drawing(part: Part, width: int, *, titled: bool) -> tuple[Layout, str]:
    """Return the layout and the SVG of one part, with its title if the part is an inner model."""
    boxes = boxes_of(part.nodes)
    labels = {node.key: label_of(node, names_shown(part.calls[node.key])) for node in part.nodes}
    rooms = {
        key: Room(box.whole_width, box.whole_height, _LEADING * len(labels[key]) + 4) for key, box in boxes.items()
    }
    placed = layout({node.key: node.inputs for node in part.nodes}, rooms, width)
    wires = "".join(_wired(wire.lines, wire.ends) for wire in placed.wires)
    nodes = "".join(
        _drawn_node(node, boxes[node.key], labels[node.key], placed.centers[node.key], placed.labels[node.key])
        for node in part.nodes
    )
    if not titled:
        return placed, wires + nodes
    heading = f'<text class="h" x="8" y="14">{_escape_xml(_shortened_title(part.title, width))}</text>'
    return placed, f'{heading}<g transform="translate(0 {number(_HEADING)})">{wires}{nodes}</g>'


def names_shown(calls: Sequence[Node]) -> list[str]:
    """Return the names below a box whose type alone does not identify it.

    For inner models, the numbers of similar models and of calls follow.
    """
    first, names = calls[0], {node.name for node in calls}
    if not first.inner:
        return [] if _is_automatic(first) else [first.name]
    alike = [f"and {len(names) - 1} alike"] if len(names) > 1 else []
    called = len(calls) // len(names)
    return [first.name, *alike, *([f"{called} calls{' each' if alike else ''}"] if called > 1 else [])]


def _is_automatic(node: Node) -> bool:
    """Return whether Keras generated the name of a layer, such as `max_pooling2d_3`."""
    return re.sub(r"_\d+$", "", node.name).replace("_", "").lower() == node.kind.lower()


def _shortened_title(title: str, width: int) -> str:
    """Return a title that fits on one line."""
    room = int((width - 16) / (0.75 * 11))
    return title if len(title) <= room else f"{title[: room - 1]}…"


def _wired(lines: Sequence[Sequence[Point]], ends: Sequence[Point]) -> str:
    """Return the SVG of the wires of one node and their arrows."""
    path = "".join("M" + "L".join(f"{number(x)} {number(y)}" for x, y in line) for line in lines)
    arrows = "".join(f"M{number(x + ARROW - 1)} {number(y)}l-6 -3v6z" for x, y in ends)
    return f'<path class="w" d="{path}"/><path class="a" d="{arrows}"/>'


def _drawn_node(node: Node, box: Box, label: Sequence[tuple[str, str]], center: Point, top: float) -> str:
    """Return the SVG of one box with its label; the tooltip describes the node."""
    x, y = center
    lines = "".join(
        f'<text class="{kind}" x="{number(x)}" y="{number(top + 13 + _LEADING * place)}">{_escape_xml(line)}</text>'
        for place, (kind, line) in enumerate(label)
    )
    return (
        f'<g class="{kind_of(node)}"><title>{_escape_xml(_line_of_node(node))}</title>{_cuboid(box, x, y)}{lines}</g>'
    )


def _cuboid(box: Box, x: float, y: float) -> str:
    """Return the SVG of the front, top and side of a box around a point."""
    left, bottom = x - box.whole_width / 2, y + box.whole_height / 2
    wide, high, right, up = (number(one) for one in (box.width, box.height, box.right, box.up))
    front = f"M{number(left)} {number(bottom - box.height)}h{wide}v{high}h-{wide}z"
    lid = f"M{number(left)} {number(bottom - box.height)}l{right} -{up}h{wide}l-{right} {up}z"
    side = f"M{number(left + box.width)} {number(bottom)}l{right} -{up}v-{high}l-{right} {up}z"
    return f'<path class="f" d="{front}"/><path class="l" d="{lid}"/><path class="s" d="{side}"/>'


def _legend(kinds: Sequence[str], top: float, width: float) -> tuple[str, float]:
    """Return the SVG of the legend of colors, and the position of its bottom edge."""
    x, y, found = 12.0, top + 10, ""
    for kind in kinds:
        room = 16 + breadth(kind, SMALL) + 12
        if x + room > width and x > 12:
            x, y = 12.0, y + 16
        found += (
            f'<g class="{kind}"><path class="f" d="M{number(x)} {number(y - 8)}h10v10h-10z"/>'
            f'<text class="e" x="{number(x + 15)}" y="{number(y)}">{kind}</text></g>'
        )
        x += room
    return found, y + 12


def _description(architecture: Architecture) -> str:
    """Return a description of the diagram in words, for screen readers."""
    count = len(architecture.nodes)
    named = "; ".join(_line_of_node(node) for node in architecture.nodes[:_MAX_DESCRIBED])
    more = f"; and {count - _MAX_DESCRIBED:,} more" if count > _MAX_DESCRIBED else ""
    return f"{counted(count, 'layer')}, {format_parameters(architecture.parameters)}: {named}{more}."


def _line_of_node(node: Node) -> str:
    """Return the description of a layer on one line."""
    facts = [*details_of(node), *([f"output {format_shape(node.shape)}"] if node.shape else [])]
    if node.parameters:
        facts.append(format_parameters(node.parameters))
    return f"{node.kind} {node.key}: {', '.join(facts)}"


def _escape_xml(text: str) -> str:
    """Return a text escaped for XML, on one line, with each character that XML does not allow replaced."""
    return html.escape(_FORBIDDEN.sub("�", " ".join(text.split())))


def number(value: float) -> str:
    """Return a coordinate as text, rounded to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")

"""Boxes of a network diagram: feature maps in perspective, and the labels below them.

The module computes the size, the color class and the label of the box for a node of an architecture. A box is as high
and as deep as the sides of the feature map, which shrink from layer to layer, and its width represents the number of
channels, which grows. VGG-16 (Simonyan and Zisserman 2014) is usually drawn this way. Sides are scaled by their square
roots and channels by a power, because neither would fit otherwise.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from artifacts.common.formatting import breadth, counted
from tasks.schemas.architecture import Node, Shape

_FACE = 78.0  # size of the largest side in a diagram, in pixels
_MIN_SIDE = 9.0  # size of the smallest side, in pixels
_SLANT, _RISE = 0.38, 0.28  # extent of a side to the right and up, as shares of its length
_WIDEST = 108.0  # greatest width of a box or of a line of its label, in pixels
_TYPE, SMALL = 11.0, 10.0  # font sizes

# Kinds of layers, each with a color in `diagram.css`, and patterns for the Keras classes of the kind; the first match counts.
_LAYER_KINDS = {
    "input": r"InputLayer",
    "model": r"Functional|Sequential|Model",
    "pooling": r"\w*Pool\w*",
    "convolution": r"\w*Conv\w*",
    "normalization": r"\w*Norm\w*",
    "merge": r"Add|Subtract|Multiply|Average|Maximum|Minimum|Concatenate|Dot|TrueDivide|Stack|Matmul|Einsum",
    "sequence": r"\w*(Attention|LSTM|GRU|RNN|Bidirectional|TimeDistributed)\w*",
    "dense": r"\w*Dense|Embedding",
}
ORDER = (*_LAYER_KINDS, "other")


@dataclass(frozen=True)
class Box:
    """Box seen from the left and above: a front of `width` x `height`, and sides that extend by `right` and `up`."""

    width: float
    height: float
    right: float
    up: float

    @property
    def whole_width(self) -> float:
        """Width from the left edge of the front to the right edge of the back."""
        return self.width + self.right

    @property
    def whole_height(self) -> float:
        """Height from the top edge of the back to the bottom edge of the front."""
        return self.height + self.up


def kind_of(node: Node) -> str:
    """Return the kind of a layer, one of `ORDER`."""
    if node.inner:
        return "model"
    return next((kind for kind, names in _LAYER_KINDS.items() if re.fullmatch(names, node.kind)), "other")


def extent_of(node: Node, gray: frozenset[Shape] = frozenset()) -> tuple[int, int, int]:
    """Return the rows, columns and channels of a layer's output.

    A vector has channels only, and a side of unknown size counts as 1. `gray` holds the shapes, (rows, columns), of
    gray images; any other shape of two sides is a sequence, (steps, channels).
    """
    shape = [side or 1 for side in node.shape]
    if len(shape) < 2:
        return 0, 0, (shape or [1])[0]
    if node.shape in gray:
        return shape[0], shape[1], 1
    if node.channels_first:
        shape = [*shape[1:], shape[0]]
    *further, rows, columns, channels = shape if len(shape) > 2 else [shape[0], 1, shape[1]]
    for side in further:
        channels *= side
    return rows, columns, channels


def boxes_of(nodes: Sequence[Node]) -> dict[str, Box]:
    """Return the boxes of a diagram by node key, scaled to its largest feature map."""
    gray = frozenset(node.shape for node in nodes if kind_of(node) == "input" and len(node.shape) == 2)
    largest = max((side for node in nodes for side in extent_of(node, gray)[:2]), default=0)
    return {node.key: box_of(node, extent_of(node, gray), largest) for node in nodes}


def box_of(node: Node, extent: tuple[int, int, int], largest: int) -> Box:
    """Return the box of a layer."""
    rows, columns, channels = extent
    if not rows:
        length = min(84.0, 12 + 5 * (max(channels, 1).bit_length() - 1))
        return Box(length, max(_MIN_SIDE, min(40.0, 5.0 * len(node.inputs))), 5.0, 4.0)
    high, deep = (max(_MIN_SIDE, _FACE * (side / largest) ** 0.5) for side in (rows, columns))
    return Box(min(64.0, 3 + 3 * channels**0.4), high, _SLANT * deep, _RISE * deep)


def label_of(node: Node, named: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return the lines below a box, each with its CSS class.

    `named` holds the names that identify the box where the type does not suffice.
    """
    lines = [("t", line) for line in break_class_name(node.kind, _TYPE, bold=True)]
    lines += [("n", fit_text(line)) for line in named]
    lines += [("d", line) for line in fill_lines(details_of(node))]
    if node.shape:
        lines.append(("d", fit_text(format_shape(node.shape))))
    if node.parameters:
        text = format_parameters(node.parameters)
        lines.append(("p", text if breadth(text, SMALL) <= _WIDEST else f"{node.parameters:,}"))
    return lines


def details_of(node: Node) -> list[str]:
    """Return the kernel, stride, activation and other settings of a layer as phrases."""
    stride = node.stride[:1] if len(set(node.stride)) == 1 else node.stride  # one number if all sides have the same
    return [
        *([format_shape(node.kernel)] if node.kernel else []),
        *([f"stride {format_shape(stride)}"] if stride else []),
        *([node.activation] if node.activation else []),
        *node.settings,
    ]


def format_shape(shape: Shape) -> str:
    """Return a shape as text."""
    return " × ".join("any" if side is None else f"{side:,}" if len(shape) == 1 else str(side) for side in shape)


def format_parameters(parameters: int) -> str:
    """Return a number of parameters as text."""
    return counted(parameters, "param")


def fit_text(text: str, size: float = SMALL, *, bold: bool = False) -> str:
    """Return a text that fits below a box, shortened in the middle if necessary."""
    if breadth(text, size, bold=bold) <= _WIDEST:
        return text
    keep = len(text)
    while keep > 2 and breadth(_shorten_name(text, keep), size, bold=bold) > _WIDEST:
        keep -= 1
    return _shorten_name(text, keep)


def _shorten_name(text: str, keep: int) -> str:
    """Return a text shortened to `keep` letters, half of them from its beginning and half from its end."""
    return f"{text[: -(-keep // 2)]}…{text[len(text) - keep // 2 :]}"


def break_class_name(name: str, size: float, *, bold: bool) -> list[str]:
    """Return the name of a class on at most two lines, broken where a word begins."""
    lines: list[str] = []
    for word in re.findall(r"[A-Z]+[a-z]*\d*[A-Z]?(?![a-z])|[A-Z]?[^A-Z]+|.", name):
        if lines and breadth(lines[-1] + word, size, bold=bold) <= _WIDEST:
            lines[-1] += word
        else:
            lines.append(word)
    return [fit_text(line, size, bold=bold) for line in ([*lines[:1], "".join(lines[1:])] if lines[1:] else lines)]


def fill_lines(parts: list[str]) -> list[str]:
    """Return lines with as many parts on each line as fit."""
    lines: list[str] = []
    for part in parts:
        if lines and breadth(f"{lines[-1]}, {part}", SMALL) <= _WIDEST:
            lines[-1] += f", {part}"
        else:
            lines.append(fit_text(part))
    return lines

"""Boxes: feature maps in perspective, and what is written below them.

In: a node of an architecture. Out: the size of its box, its color by kind, and its label. A box is as high and as deep as the
map's sides, which shrink from layer to layer, and as wide as its channels are many, which grow: after Simonyan and Zisserman
2014, as VGG-16 is usually drawn. Sides are drawn by their square roots, and channels by a power, or neither would fit.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.schemas.architecture import Node, Shape

_FACE = 78.0  # pixels of the largest side in a diagram
_LEAST = 9.0  # and of the smallest
_SLANT, _RISE = 0.38, 0.28  # how far a side goes to the right and up, as shares of its length
_WIDEST = 108.0  # a box, or a line of its label
_TYPE, SMALL = 11.0, 10.0  # font sizes

# The kinds of layers, each with a color in `diagram.css`, and the names of Keras's classes that it holds; the first counts.
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
    """A box seen from the left and above: its front is `width` x `height`, its sides go `right` and `up`."""

    width: float
    height: float
    right: float
    up: float

    @property
    def whole_width(self) -> float:
        """From the left of the front to the right of the back."""
        return self.width + self.right

    @property
    def whole_height(self) -> float:
        """From the top of the back to the bottom of the front."""
        return self.height + self.up


def kind_of(node: Node) -> str:
    """The kind of a layer."""
    if node.inner:
        return "model"
    return next((kind for kind, names in _LAYER_KINDS.items() if re.fullmatch(names, node.kind)), "other")


def extent_of(node: Node, gray: frozenset[Shape] = frozenset()) -> tuple[int, int, int]:
    """Rows, columns and channels of what a layer makes: a vector is all channels; a side of any size counts as one.

    `gray` holds the shapes, (rows, columns), of gray images; anything else of two sides is a sequence, (steps, channels).
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


def _gray_in(nodes: Iterable[Node]) -> frozenset[Shape]:
    """The shapes of two sides that a model takes, which are taken for gray images."""
    return frozenset(node.shape for node in nodes if kind_of(node) == "input" and len(node.shape) == 2)


def boxes_of(nodes: Sequence[Node]) -> dict[str, Box]:
    """The boxes of a diagram by their nodes' keys, scaled to its largest map."""
    gray = _gray_in(nodes)
    largest = max((side for node in nodes for side in extent_of(node, gray)[:2]), default=0)
    return {node.key: box_of(node, extent_of(node, gray), largest) for node in nodes}


def box_of(node: Node, extent: tuple[int, int, int], largest: int) -> Box:
    """The box of a layer."""
    rows, columns, channels = extent
    if not rows:
        length = min(84.0, 12 + 5 * (max(channels, 1).bit_length() - 1))
        return Box(length, max(_LEAST, min(40.0, 5.0 * len(node.inputs))), 5.0, 4.0)
    high, deep = (max(_LEAST, _FACE * (side / largest) ** 0.5) for side in (rows, columns))
    return Box(min(64.0, 3 + 3 * channels**0.4), high, _SLANT * deep, _RISE * deep)


def label_of(node: Node, named: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The lines below a box, each with the class that it is set in; `named` is what tells it apart, where the type does not."""
    lines = [("t", line) for line in broken(node.kind, _TYPE, bold=True)]
    lines += [("n", squeezed(line)) for line in named]
    lines += [("d", line) for line in filled(details_of(node))]
    if node.shape:
        lines.append(("d", squeezed(shape_said(node.shape))))
    if node.parameters:
        said = parameters_said(node.parameters)
        lines.append(("p", said if breadth(said, SMALL) <= _WIDEST else f"{node.parameters:,}"))
    return lines


def details_of(node: Node) -> list[str]:
    """Kernel, stride, activation and the other settings of a layer, each in words."""
    return [
        *([shape_said(node.kernel)] if node.kernel else []),
        *([f"stride {_stride_said(node.stride)}"] if node.stride else []),
        *([node.activation] if node.activation else []),
        *node.settings,
    ]


def _stride_said(stride: tuple[int, ...]) -> str:
    """A stride: one number where it is the same on all sides."""
    return str(stride[0]) if len(set(stride)) == 1 else shape_said(stride)


def shape_said(shape: Shape) -> str:
    """A shape in words."""
    return " × ".join("any" if side is None else f"{side:,}" if len(shape) == 1 else str(side) for side in shape)


def parameters_said(parameters: int) -> str:
    """A number of parameters in words."""
    return f"{parameters:,} param{'' if parameters == 1 else 's'}"


def breadth(text: str, size: float, *, bold: bool = False) -> float:
    """How wide a text is at most, in pixels: DejaVu Sans is the widest of the fonts that may stand in for the named ones."""
    narrow, broad = len(re.findall(r"[ .,:;!'|ijlI()\[\]]", text)), len(re.findall(r"[mwMW@%×]", text))
    wide = len(re.findall(r"[^\x00-\u024f×]", text))  # such as Chinese
    usual = len(text) - narrow - broad - wide
    return size * (0.36 * narrow + 0.62 * usual + 0.92 * broad + 1.05 * wide) * (1.1 if bold else 1)


def squeezed(text: str, size: float = SMALL, *, bold: bool = False) -> str:
    """A text that fits below a box, shortened in its middle if it must be."""
    if breadth(text, size, bold=bold) <= _WIDEST:
        return text
    keep = len(text)
    while keep > 2 and breadth(_shorten_name(text, keep), size, bold=bold) > _WIDEST:
        keep -= 1
    return _shorten_name(text, keep)


def _shorten_name(text: str, keep: int) -> str:
    """A text of which `keep` letters are left, half at its beginning and half at its end."""
    return f"{text[: -(-keep // 2)]}…{text[len(text) - keep // 2 :]}"


def broken(name: str, size: float, *, bold: bool) -> list[str]:
    """The name of a class over two lines at most, broken where a word begins."""
    lines: list[str] = []
    for word in re.findall(r"[A-Z]+[a-z]*\d*[A-Z]?(?![a-z])|[A-Z]?[^A-Z]+|.", name):
        if lines and breadth(lines[-1] + word, size, bold=bold) <= _WIDEST:
            lines[-1] += word
        else:
            lines.append(word)
    return [squeezed(line, size, bold=bold) for line in ([*lines[:1], "".join(lines[1:])] if lines[1:] else lines)]


def filled(parts: list[str]) -> list[str]:
    """Parts as lines, as many on each as fit."""
    lines: list[str] = []
    for part in parts:
        if lines and breadth(f"{lines[-1]}, {part}", SMALL) <= _WIDEST:
            lines[-1] += f", {part}"
        else:
            lines.append(squeezed(part))
    return lines

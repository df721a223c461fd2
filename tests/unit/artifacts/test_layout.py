from itertools import combinations, pairwise

import pytest

from artifacts.diagram.drawing import NARROW, WIDE
from artifacts.diagram.layout import Layout, Room, layout
from tasks.schemas.architecture import Architecture
from tests.support import networks

ROOM = Room(width=60, height=80, label=50)
DRAWN = pytest.mark.parametrize("name", networks.ALL)
WIDTHS = pytest.mark.parametrize("width", [WIDE, NARROW])


def placed(architecture: Architecture, width: float) -> Layout:
    return layout(
        {node.key: node.inputs for node in architecture.nodes}, {node.key: ROOM for node in architecture.nodes}, width
    )


def frames(found: Layout) -> dict[str, tuple[float, float, float, float]]:
    """Return the area that each node covers with its box and label, as left, top, right and bottom."""
    return {
        key: (x - 50, y - ROOM.height / 2, x + 50, found.labels[key] + ROOM.label)
        for key, (x, y) in found.centers.items()
    }


@DRAWN
@WIDTHS
def test_no_nodes_overlap_and_all_are_on_the_paper(name: str, width: float) -> None:
    found = placed(networks.ALL[name], width)
    boxes = frames(found)
    for left, top, right, bottom in boxes.values():
        assert left >= 0
        assert top >= 0
        assert right <= found.width
        assert bottom <= found.height
    for one, other in combinations(boxes.values(), 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@DRAWN
@WIDTHS
def test_wires_are_straight_and_stay_out_of_boxes_and_labels(name: str, width: float) -> None:
    found = placed(networks.ALL[name], width)
    boxes = frames(found)
    for wire in found.wires:
        for line in wire.lines:
            for (x, y), (to_x, to_y) in pairwise(line):
                assert x == to_x or y == to_y
                assert 0 <= min(x, to_x) <= max(x, to_x) <= found.width
                assert 0 <= min(y, to_y) <= max(y, to_y) <= found.height
                for key, (left, top, right, bottom) in boxes.items():
                    # Beside a box, its column contains only the wires that start or end at the box.
                    middle = found.centers[key][0]
                    inner = (left, right) if y != to_y else (middle - ROOM.width / 2, middle + ROOM.width / 2)
                    crosses = min(x, to_x) < inner[1] and max(x, to_x) > inner[0]
                    assert not (crosses and min(y, to_y) < bottom and max(y, to_y) > top), (wire.source, key)


@DRAWN
@WIDTHS
def test_every_connection_is_drawn(name: str, width: float) -> None:
    architecture = networks.ALL[name]
    found = placed(architecture, width)
    wires = {wire.source: wire for wire in found.wires}
    for node in architecture.nodes:
        x, y = found.centers[node.key]
        ends = [
            end for source in node.inputs for end in wires[source].ends
            if end[0] == x - ROOM.width / 2 - 3 and abs(end[1] - y) <= ROOM.height / 2
        ]  # fmt: skip
        assert len(set(ends)) == len(node.inputs), "each connection ends at a place of its own"
        for source in node.inputs:
            assert {line[-1] for line in wires[source].lines} >= set(ends) & set(wires[source].ends)
    assert sum(len(wire.ends) for wire in found.wires) == sum(len(node.inputs) for node in architecture.nodes)


def test_a_chain_wraps_like_text() -> None:
    found = placed(networks.chain(100), WIDE)
    assert found.width <= WIDE
    rows = sorted({y for _, y in found.centers.values()})
    assert 100 / 8 <= len(rows) <= 20
    assert placed(networks.chain(100), NARROW).width <= NARROW


def test_a_connection_around_layers_runs_above_them() -> None:
    found = placed(networks.residual(1), WIDE)
    (wire,) = [one for one in found.wires if one.source == "in"]
    top = min(y for line in wire.lines for _, y in line)
    assert top < found.centers["a0"][1] - ROOM.height / 2
    assert len({found.centers[key][1] for key in ("in", "a0", "b0", "add0")}) == 1


def test_an_input_stands_before_what_takes_from_it() -> None:
    architecture = networks.model(
        *networks.chain(5).nodes,
        networks.node("late", kind="InputLayer"),
        networks.node("sum", "n4", "late", kind="Add"),
    )
    found = placed(architecture, WIDE)
    assert found.centers["late"][0] == found.centers["n4"][0]

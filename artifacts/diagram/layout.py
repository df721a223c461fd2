"""Layout of a graph: the positions of its nodes and the routes of the wires between them, as pure geometry.

The input is a graph as each node's inputs, the space that each node needs, and the width of the page. Wires consist of
horizontal and vertical lines. The column of a node is the length of the longest path from the inputs, as in Sugiyama,
Tagawa and Toda 1981 ("Methods for visual understanding of hierarchical system structures"). Columns that do not fit
beside each other continue in the next band, like lines of text. A wire that passes columns runs on a track above them,
so that it crosses neither boxes nor labels.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_PITCH = 120  # pixels, as all lengths here: from one column to the next
_GAP = 12  # the part of the pitch between the labels of two columns, where wires change their height
_MARGIN = 8
_TRACK = 9  # from one track to the next
_APART = 6  # between parallel wires
_LANE_GAP = 12
_BAND_GAP = 20
ARROW = 3  # between a box and the ends of its wires

Point = tuple[float, float]


@dataclass(frozen=True)
class Room:
    """Space of a node around its center: its box, and `label` pixels of text below it."""

    width: float
    height: float
    label: float


@dataclass(frozen=True)
class Wire:
    """All wires that leave one node: lines of at least two points each, and the positions of the arrows."""

    source: str
    lines: tuple[tuple[Point, ...], ...]
    ends: tuple[Point, ...]


@dataclass(frozen=True)
class Layout:
    """Centers of the boxes, tops of the labels, wires, and size of the diagram, in pixels."""

    centers: Mapping[str, Point]
    labels: Mapping[str, float]
    wires: tuple[Wire, ...]
    width: float
    height: float


@dataclass
class Band:
    """Columns beside each other, from `first` to `after` (exclusive), and the positions of lanes and tracks."""

    first: int
    after: int
    top: float = 0.0
    bottom: float = 0.0
    lanes: dict[int, float] = field(default_factory=dict)
    labels: dict[int, float] = field(default_factory=dict)
    tracks: dict[str, float] = field(default_factory=dict)


def layout(graph: Mapping[str, Sequence[str]], rooms: Mapping[str, Room], width: float) -> Layout:
    """Return the layout of a graph whose nodes each follow their inputs."""
    return Drawing(graph, rooms, width).laid_out()


class Drawing:
    """Computation of the Layout of one graph."""

    def __init__(self, graph: Mapping[str, Sequence[str]], rooms: Mapping[str, Room], width: float) -> None:
        self.graph, self.rooms = graph, rooms
        self.consumers = _consumers_of(graph)
        self.ranks = _ranks_of(graph, self.consumers)
        self.columns = max(self.ranks.values()) + 1
        self.lanes = _lanes_of(graph, self.ranks)
        self.last = {one: max((self.ranks[to] for to in tos), default=-1) for one, tos in self.consumers.items()}
        self.tracks = _tracks_of({one: (self.ranks[one] + 1, last - 1) for one, last in self.last.items()})
        self.gaps = {gap: self.leaving(gap) for gap in range(self.columns)}
        busiest = max((len(sources) for sources in self.gaps.values()), default=1)
        self.pitch = _PITCH + max(0, (busiest - 3) * _APART // 2)
        across = max(1, int((width - 2 * _MARGIN) // self.pitch))
        self.bands = [Band(*ends) for ends in pairwise(self.cuts(across))]
        crossing = max((len(self.gaps[band.after - 1]) for band in self.bands[:-1]), default=0)
        self.margin = _MARGIN + _APART * max(0, crossing - 1)
        self.stack()

    def leaving(self, gap: int) -> list[str]:
        """Return the nodes whose wires run through the gap after a column, from top to bottom."""
        through = [one for one, last in self.last.items() if self.ranks[one] <= gap < last]
        return sorted(through, key=lambda one: (one not in self.tracks, -self.tracks.get(one, 0), self.lanes[one]))

    def cuts(self, across: int) -> list[int]:
        """Return the columns at which bands begin and end.

        Bands are cut where few wires cross, and otherwise after as many columns as fit.
        """
        found = [0]
        while self.columns - found[-1] > across:
            first = found[-1]
            at = range(max(first + 1, first + -(-2 * across // 3)), first + across + 1)
            found.append(min(at, key=lambda cut: (len(self.gaps[cut - 1]), self.grows(cut), -cut)))
        return [*found, self.columns]

    def grows(self, cut: int) -> bool:
        """Return whether the boxes after a cut are at least as high as those before it.

        A band should end where the boxes have just become smaller.
        """
        return self.highest(cut - 1) >= self.highest(cut - 2)

    def highest(self, column: int) -> float:
        """Return the height of the highest box in a column."""
        return max((self.rooms[one].height for one, rank in self.ranks.items() if rank == column), default=0)

    def stack(self) -> None:
        """Set the vertical positions of the bands, one below the other."""
        y = float(_MARGIN)
        for band in self.bands:
            band.top = y
            # A wire out of the first column turns to its track in this band, and so does a wire into the last column.
            passing = [one for one in self.tracks if self.ranks[one] < band.after - 1 and self.last[one] > band.first]
            used = sorted({self.tracks[one] for one in passing}, reverse=True)
            heights = {track: y + place * _TRACK for place, track in enumerate(used)}
            band.tracks = {one: heights[self.tracks[one]] for one in passing}
            y += len(used) * _TRACK + (3 if used else 0)
            members = defaultdict(list)
            for one, rank in self.ranks.items():
                if band.first <= rank < band.after:
                    members[self.lanes[one]].append(self.rooms[one])
            for lane in sorted(members):
                half = max(room.height for room in members[lane]) / 2
                band.lanes[lane], band.labels[lane] = y + half, y + 2 * half
                y += 2 * half + max(room.label for room in members[lane]) + _LANE_GAP
            y -= _LANE_GAP
            crossing = len(self.gaps[band.after - 1])
            band.bottom = y
            y += _BAND_GAP + _APART * max(0, crossing - 1)
        self.height = self.bands[-1].bottom + _MARGIN

    def laid_out(self) -> Layout:
        """Return the layout with the positions and the wires."""
        band_of = {column: band for band in self.bands for column in range(band.first, band.after)}
        centers = {
            one: (self.x(rank, band_of[rank]), band_of[rank].lanes[self.lanes[one]]) for one, rank in self.ranks.items()
        }
        labels = {one: band_of[rank].labels[self.lanes[one]] for one, rank in self.ranks.items()}
        self.centers, self.band_of = centers, band_of
        wires = tuple(self.wire(one) for one in self.graph if self.consumers[one])
        width = 2 * self.margin + self.pitch * max(band.after - band.first for band in self.bands)
        return Layout(centers, labels, wires, width, self.height)

    def x(self, column: int, band: Band) -> float:
        """Return the horizontal center of a column."""
        return self.margin + self.pitch * (column - band.first + 0.5)

    def wire(self, source: str) -> Wire:
        """Return all lines that leave a node, gap by gap."""
        lines: list[tuple[Point, ...]] = []
        ends: list[Point] = []
        rank = self.ranks[source]
        x, y = self.centers[source]
        here: Point = (x + self.rooms[source].width / 2 + ARROW, y)
        for gap in range(rank, self.last[source]):
            targets = [one for one in self.consumers[source] if self.ranks[one] == gap + 1]
            arrivals = [self.arrival(source, one) for one in targets]
            ends += arrivals
            trunk, entry = self.through(source, gap, here)
            goes_on = gap + 1 < self.last[source]
            track = self.band_of[gap + 1].tracks.get(source) if goes_on else None
            heights = [one[1] for one in arrivals] + ([track] if track is not None else [])
            turns = [(entry, min(heights)), (entry, max(heights))] if len(heights) > 1 else []
            # Draw a part that two lines share once, since it would look thicker otherwise.
            nearest = min(max(trunk[-1][1], min(heights)), max(heights))
            start = [*trunk, (entry, nearest)]
            if turns:
                lines += [_tidy(start), _tidy(turns)]
                lines += [((entry, one[1]), one) for one in arrivals]
            else:
                lines += [_tidy([*start, *arrivals])]
            if track is not None:
                here = (entry, track)
        return Wire(source, tuple(lines), tuple(ends))

    def through(self, source: str, gap: int, here: Point) -> tuple[list[Point], float]:
        """Return the path of a wire from its current point into the gap after a column.

        The second value is the horizontal position at which the wire may turn to the heights of its targets.
        """
        place, count = self.gaps[gap].index(source), len(self.gaps[gap])
        band, following = self.band_of[gap], self.band_of[gap + 1]
        if band is following:
            step = min(_APART, (self.pitch - _PITCH + _GAP) / count)
            at = self.x(gap, band) + self.pitch / 2 + step * (place - (count - 1) / 2)
            return [here, (at, here[1])], at
        edge = self.margin + self.pitch * (band.after - band.first)
        # The topmost wire turns last on the right and first on the left, so that wires do not cross.
        out, back = edge + _APART * (count - 1 - place), self.margin - _APART * place
        below = band.bottom + _BAND_GAP / 2 + _APART * (count - 1 - place)
        return [here, (out, here[1]), (out, below), (back, below)], back

    def arrival(self, source: str, target: str) -> Point:
        """Return the point where a wire meets the box of a node.

        The only wire of a node, or one that arrives in a straight line, meets the middle; the others meet the box above or
        below it.
        """
        x, y = self.centers[target]
        left = x - self.rooms[target].width / 2 - ARROW
        if len(self.graph[target]) == 1:
            return left, y
        heights = {one: self.height_of(one, target) for one in self.graph[target]}
        same = [one for one, height in heights.items() if height == y]
        if same[:1] == [source]:
            return left, y
        above = heights[source] <= y
        side = [one for one, height in heights.items() if (height <= y) == above and one not in same[:1]]
        side.sort(key=lambda one: -heights[one] if above else heights[one])
        step = min(_APART, (self.rooms[target].height / 2 - 2) / len(side))
        return left, y + (side.index(source) + 1) * (-step if above else step)

    def height_of(self, source: str, target: str) -> float:
        """Return the height at which a wire reaches the gap before a node."""
        rank = self.ranks[target]
        band = self.band_of[rank]
        if self.ranks[source] == rank - 1:
            lane = self.lanes[source]
            return band.lanes.get(lane, band.top) if self.band_of[rank - 1] is not band else self.centers[source][1]
        return band.tracks.get(source, band.top)


def _consumers_of(graph: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the nodes that take each node as an input."""
    found: dict[str, list[str]] = {one: [] for one in graph}
    for one, inputs in graph.items():
        for source in inputs:
            found[source].append(one)
    return found


def _ranks_of(graph: Mapping[str, Sequence[str]], consumers: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the column of each node, which is one after the last column of its inputs.

    A node without inputs is placed just before the first node that uses it.
    """
    ranks: dict[str, int] = {}
    for one, inputs in graph.items():
        ranks[one] = max((ranks[source] + 1 for source in inputs), default=0)
    for one, inputs in graph.items():
        if not inputs and consumers[one]:
            ranks[one] = min(ranks[to] for to in consumers[one]) - 1
    return ranks


def _lanes_of(graph: Mapping[str, Sequence[str]], ranks: Mapping[str, int]) -> dict[str, int]:
    """Return the lane of each node: the topmost lane of its inputs, or the next free lane below it."""
    lanes: dict[str, int] = {}
    for column in range(max(ranks.values()) + 1):
        taken: set[int] = set()
        members = [one for one in graph if ranks[one] == column]
        for one in sorted(
            members, key=lambda one: (not graph[one], min(map(lanes.__getitem__, graph[one]), default=0))
        ):
            wanted = min((lanes[source] for source in graph[one]), default=0)
            while wanted in taken:
                wanted += 1
            lanes[one] = wanted
            taken.add(wanted)
    return lanes


def _tracks_of(passed: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Return the track of each wire that passes columns; short wires run nearest to the boxes.

    `passed` holds the first and the last column that each wire passes.
    """
    tracks: dict[str, int] = {}
    spans: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for one, (first, last) in sorted(passed.items(), key=lambda item: item[1][1] - item[1][0]):
        if last < first:
            continue
        track = 0
        while any(first <= other + 1 and start <= last + 1 for start, other in spans[track]):
            track += 1
        spans[track].append((first, last))
        tracks[one] = track
    return tracks


def _tidy(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return a line without points that repeat the previous point or lie between their neighbors."""
    found: list[Point] = []
    for point in points:
        if found and found[-1] == point:
            continue
        if len(found) > 1 and any(found[-2][axis] == found[-1][axis] == point[axis] for axis in (0, 1)):
            found.pop()
        found.append(point)
    return tuple(found)

"""Layout: where the nodes of a graph stand and how the wires between them run. Pure geometry.

In: a graph as each node's inputs, how much room each node needs, and the width of the page. Out: a place for each node, and
wires of horizontal and vertical lines. Nodes stand in columns by their longest path from the inputs, as Sugiyama, Tagawa and
Toda 1981 have it ("Methods for visual understanding of hierarchical system structures"); columns that don't fit beside each
other go on in the next band, as lines of text do. A wire that passes columns runs on a track above them, so that it meets
neither boxes nor labels.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_PITCH = 120  # from one column to the next
_GAP = 12  # of that, between the labels of two columns: where wires change their height
_MARGIN = 8
_TRACK = 9  # from one track to the next
_APART = 6  # between wires that run side by side
_LANE_GAP = 12
_BAND_GAP = 20
ARROW = 3  # between a box and what it is connected to

Point = tuple[float, float]


@dataclass(frozen=True)
class Room:
    """What a node needs around its center: its box, and below it `label` pixels of text."""

    width: float
    height: float
    label: float


@dataclass(frozen=True)
class Wire:
    """All that leaves one node: lines, each of at least two points, and where arrows end."""

    source: str
    lines: tuple[tuple[Point, ...], ...]
    ends: tuple[Point, ...]


@dataclass(frozen=True)
class Layout:
    """The center of each node's box, the top of its label, the wires, and the size of it all."""

    centers: Mapping[str, Point]
    labels: Mapping[str, float]
    wires: tuple[Wire, ...]
    width: float
    height: float


@dataclass
class Band:
    """Columns that stand beside each other: the first, the one after the last, and where lanes and tracks run."""

    first: int
    after: int
    top: float = 0.0
    bottom: float = 0.0
    lanes: dict[int, float] = field(default_factory=dict)
    labels: dict[int, float] = field(default_factory=dict)
    tracks: dict[str, float] = field(default_factory=dict)


def layout(graph: Mapping[str, Sequence[str]], rooms: Mapping[str, Room], width: float) -> Layout:
    """Lay out a graph whose nodes each stand after their inputs."""
    return Drawing(graph, rooms, width).laid_out()


class Drawing:
    """One graph on its way to a Layout."""

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
        """The nodes whose wires run through the gap after a column, from the top."""
        through = [one for one, last in self.last.items() if self.ranks[one] <= gap < last]
        return sorted(through, key=lambda one: (one not in self.tracks, -self.tracks.get(one, 0), self.lanes[one]))

    def cuts(self, across: int) -> list[int]:
        """Where bands begin and end: where few wires cross, and then after as many columns as fit."""
        found = [0]
        while self.columns - found[-1] > across:
            first = found[-1]
            at = range(max(first + 1, first + -(-2 * across // 3)), first + across + 1)
            found.append(min(at, key=lambda cut: (len(self.gaps[cut - 1]), self.grows(cut), -cut)))
        return [*found, self.columns]

    def grows(self, cut: int) -> bool:
        """Whether the boxes after a cut are as high as those before: a band ends well where they have just shrunk."""
        return self.highest(cut - 1) >= self.highest(cut - 2)

    def highest(self, column: int) -> float:
        """The height of a column's highest box."""
        return max((self.rooms[one].height for one, rank in self.ranks.items() if rank == column), default=0)

    def stack(self) -> None:
        """Put the bands below each other."""
        y = float(_MARGIN)
        for band in self.bands:
            band.top = y
            # A wire that leaves the first column bends to its track in this band, as one does that ends in the last.
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
        """The places and the wires."""
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
        """The middle of a column."""
        return self.margin + self.pitch * (column - band.first + 0.5)

    def wire(self, source: str) -> Wire:
        """All lines that leave a node, gap by gap."""
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
            # A part that two lines share is drawn once, or it would look thicker.
            start = [*trunk, (entry, _nearest(trunk[-1][1], heights))]
            if turns:
                lines += [_tidy(start), _tidy(turns)]
                lines += [((entry, one[1]), one) for one in arrivals]
            else:
                lines += [_tidy([*start, *arrivals])]
            if track is not None:
                here = (entry, track)
        return Wire(source, tuple(lines), tuple(ends))

    def through(self, source: str, gap: int, here: Point) -> tuple[list[Point], float]:
        """The way of a wire from where it is into the gap after a column, and where it may then turn to its heights."""
        place, count = self.gaps[gap].index(source), len(self.gaps[gap])
        band, following = self.band_of[gap], self.band_of[gap + 1]
        if band is following:
            step = min(_APART, (self.pitch - _PITCH + _GAP) / count)
            at = self.x(gap, band) + self.pitch / 2 + step * (place - (count - 1) / 2)
            return [here, (at, here[1])], at
        edge = self.margin + self.pitch * (band.after - band.first)
        # The topmost wire turns last on the right and first on the left, so that none crosses another.
        out, back = edge + _APART * (count - 1 - place), self.margin - _APART * place
        below = band.bottom + _BAND_GAP / 2 + _APART * (count - 1 - place)
        return [here, (out, here[1]), (out, below), (back, below)], back

    def arrival(self, source: str, target: str) -> Point:
        """Where a wire meets the box of a node: in the middle if it comes straight, the others above and below."""
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
        """At which height a wire reaches the gap before a node."""
        rank = self.ranks[target]
        band = self.band_of[rank]
        if self.ranks[source] == rank - 1:
            lane = self.lanes[source]
            return band.lanes.get(lane, band.top) if self.band_of[rank - 1] is not band else self.centers[source][1]
        return band.tracks.get(source, band.top)


def _consumers_of(graph: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Which nodes take from each."""
    found: dict[str, list[str]] = {one: [] for one in graph}
    for one, inputs in graph.items():
        for source in inputs:
            found[source].append(one)
    return found


def _ranks_of(graph: Mapping[str, Sequence[str]], consumers: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The column of each node: one after the last of its inputs; what takes nothing stands just before it is needed."""
    ranks: dict[str, int] = {}
    for one, inputs in graph.items():
        ranks[one] = max((ranks[source] + 1 for source in inputs), default=0)
    for one, inputs in graph.items():
        if not inputs and consumers[one]:
            ranks[one] = min(ranks[to] for to in consumers[one]) - 1
    return ranks


def _lanes_of(graph: Mapping[str, Sequence[str]], ranks: Mapping[str, int]) -> dict[str, int]:
    """The lane of each node: that of its first input if it is free, else the nearest below that is."""
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
    """The track of each wire that passes columns, by the first and the last of them: short wires nearest to the boxes."""
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


def _nearest(height: float, heights: Sequence[float]) -> float:
    """The end of a vertical line where another comes to it from a height; that height itself if it lies between."""
    return min(max(height, min(heights)), max(heights))


def _tidy(points: Sequence[Point]) -> tuple[Point, ...]:
    """A line without points that repeat the one before, or lie between their neighbors."""
    found: list[Point] = []
    for point in points:
        if found and found[-1] == point:
            continue
        if len(found) > 1 and any(found[-2][axis] == found[-1][axis] == point[axis] for axis in (0, 1)):
            found.pop()
        found.append(point)
    return tuple(found)

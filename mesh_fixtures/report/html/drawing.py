"""The drawings of a page: a scenario as SVG, clusters within networks and who depends on whom; bars
of steps, by cluster, on an axis of time; and bars of latencies on a logarithmic axis, on which what
takes a millisecond and what takes seconds are both seen, and twice as long is as far everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from math import ceil, floor, log10
from typing import Final, Literal

from markupsafe import Markup

from mesh_fixtures.report.model import Latency, StepReport
from mesh_fixtures.scenario import ClusterSpec, Scenario

WIDTH: Final = 320
"""Of a cluster's card, in pixels; so for the others."""

_LINE: Final = 19
_PADDING: Final = 14
_GUTTER: Final = 96
_INNER_GUTTER: Final = 56
_HEADING: Final = 34
_BETWEEN: Final = 24
_SPREAD: Final = 14
_LANE: Final = 10

_SMALLEST: Final = 0.75
"""Part of its size to which the drawing shrinks on a screen, which can be scrolled beyond that."""

_MOST_TICKS: Final = 8

_STEPS: Final = (1, 2, 5)
"""Marks of an axis, times powers of ten."""
_SHORTEST_MS: Final = 0.1
"""Where the axis begins at the earliest; what is shorter is drawn there."""

_MOST_MARKS: Final = 7

Kind = Literal["remote-secret", "control-plane"]


@dataclass(frozen=True)
class Card:
    """A cluster's place."""

    column: int
    left: int
    top: int
    height: int

    @property
    def right(self) -> int:
        return self.left + WIDTH

    @property
    def middle(self) -> int:
        return self.top + self.height // 2


@dataclass(frozen=True)
class Link:
    """An arrow from one cluster to another.

    Attributes:
        both: whether there is the same one in the other direction.
    """

    kind: Kind
    begin: str
    end: str
    both: bool = False


def links(scenario: Scenario) -> tuple[Link, ...]:
    """Who depends on whom: a remote's proxies on its primary's istiod, an istiod on each API
    server that it reads in other clusters.
    """
    found = [
        Link("control-plane", each.name, scenario.control_plane_of(each.name))
        for each in scenario.remotes
    ]
    reads = [
        (primary.name, of)
        for primary in scenario.primaries
        for of in scenario.read_by(primary.name)
        if of != primary.name
    ]
    for reader, of in reads:
        mutual = (of, reader) in reads
        if not mutual or reader < of:
            found.append(Link("remote-secret", reader, of, mutual))
    return tuple(found)


def topology_svg(scenario: Scenario, name: str) -> Markup:
    """The drawing, whose colours a style sheet gives to its classes.

    Args:
        name: of the drawing on its page, by which its ids differ from those of others.
    """
    arrows = links(scenario)
    lanes = sum(abs(_column(scenario, e.begin) - _column(scenario, e.end)) > 1 for e in arrows)
    top = 8 + lanes * _LANE
    cards: dict[str, Card] = {}
    parts: list[Markup] = []
    left = 8
    bottom = top
    for column, network in enumerate(scenario.networks):
        inside = [each for each in scenario.clusters if each.network == network.name]
        gutter = _INNER_GUTTER if len(inside) > 1 else _PADDING
        at = top + _HEADING
        for cluster in inside:
            height = _PADDING * 2 + _LINE * (1 + len(_contents(scenario, cluster)))
            cards[cluster.name] = Card(column, left + _PADDING, at, height)
            at += height + _BETWEEN
        width, height = _PADDING + WIDTH + gutter, at - _BETWEEN + _PADDING - top
        parts.append(
            Markup(
                '<rect class="network" x="{}" y="{}" width="{}" height="{}" rx="10"/>'
                '<text class="network-name" x="{}" y="{}">{}</text>'
            ).format(left, top, width, height, left + _PADDING, top + 22, network.name)
        )
        bottom = max(bottom, top + height)
        left += width + _GUTTER
    head = f"{name}-head"
    parts += _arrows(arrows, cards, head)
    parts += [
        part
        for cluster in scenario.clusters
        for part in _card(scenario, cluster, cards[cluster.name])
    ]
    width, height = left - _GUTTER + 8, bottom + 8
    opening = Markup(
        '<svg class="topology" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" '
        'style="min-width: {3}px" aria-label="{2}"><defs>'
        '<marker id="{4}" viewBox="0 0 10 10" refX="9" refY="5" '
        'markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
        '<path class="head" d="M0 0L10 5L0 10z"/></marker></defs>'
    ).format(width, height, described(scenario), round(_SMALLEST * width), head)
    return opening + Markup("").join(parts) + Markup("</svg>")


def described(scenario: Scenario) -> str:
    """The drawing in words, for those who cannot see it."""
    places = ", ".join(f"{each.name} ({each.role}) on {each.network}" for each in scenario.clusters)
    return f"{scenario.title}: {places}"


def _column(scenario: Scenario, cluster: str) -> int:
    names = [network.name for network in scenario.networks]
    return names.index(scenario.cluster(cluster).network)


def _contents(scenario: Scenario, cluster: ClusterSpec) -> tuple[tuple[str, str], ...]:
    """Class and text of what runs in a cluster."""
    found: list[tuple[str, str]] = []
    if cluster.is_primary:
        found.append(("istiod", "istiod"))
    if scenario.needs_gateway(cluster.name) or cluster.is_external:
        kind = "ingress" if cluster.is_external else "east-west"
        ports = ", ".join(map(str, sorted(scenario.gateway_ports(cluster.name))))
        found.append(("gateway", f"{kind} gateway {ports}".rstrip()))
    if not cluster.is_external:
        found.append(("workload", f"HelloWorld {cluster.helloworld}, Sleep"))
    return tuple(found)


def _card(scenario: Scenario, cluster: ClusterSpec, card: Card) -> Iterator[Markup]:
    nodes = f", {cluster.nodes} nodes" if cluster.nodes > 1 else ""
    yield Markup('<rect class="cluster" x="{}" y="{}" width="{}" height="{}" rx="7"/>').format(
        card.left, card.top, WIDTH, card.height
    )
    line = card.top + _PADDING + 12
    yield Markup(
        '<text class="cluster-name" x="{}" y="{}">{}<tspan class="role"> {}{}</tspan></text>'
    ).format(card.left + 12, line, _short(cluster.name), cluster.role, nodes)
    for kind, text in _contents(scenario, cluster):
        line += _LINE
        yield Markup(
            '<circle class="{0}" cx="{1}" cy="{2}" r="4"/><text class="content" x="{3}" y="{4}">{5}'
            "</text>"
        ).format(kind, card.left + 17, line - 4, card.left + 28, line, _short(text, 40))


def _short(text: str, most: int = 24) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _arrows(arrows: tuple[Link, ...], cards: Mapping[str, Card], head: str) -> Iterator[Markup]:
    """The arrows, whose heads are the marker with the id `head`."""
    seen: dict[str, int] = {}
    lane = 0
    for arrow in arrows:
        begin, end = cards[arrow.begin], cards[arrow.end]
        shifts: list[int] = []
        for name in (arrow.begin, arrow.end):
            count = seen.get(name, 0)
            seen[name] = count + 1
            shifts.append((count + 1) // 2 * _SPREAD * (-1 if count % 2 else 1))
        if abs(begin.column - end.column) > 1:
            lane += 1
        path = _path(begin, end, begin.middle + shifts[0], end.middle + shifts[1], lane)
        start = Markup(' marker-start="url(#{})"').format(head) if arrow.both else Markup("")
        yield Markup(
            '<path class="link {}" d="{}" marker-end="url(#{})"{}><title>{}</title></path>'
        ).format(arrow.kind, path, head, start, _in_words(arrow))


def _path(begin: Card, end: Card, y1: int, y2: int, lane: int) -> str:
    if begin.column == end.column:
        bulge = _INNER_GUTTER - 8 + 4 * lane
        out = begin.right + bulge
        return f"M{begin.right} {y1}C{out} {y1} {out} {y2} {end.right} {y2}"
    forward = begin.column < end.column
    x1, x2 = (begin.right, end.left) if forward else (begin.left, end.right)
    if abs(begin.column - end.column) == 1:
        middle = (x1 + x2) // 2
        return f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"
    step = _GUTTER // 2 + _INNER_GUTTER // 2 + 3 * lane
    out = x1 + step if forward else x1 - step // 2
    back = x2 - step // 2 if forward else x2 + step
    above = 4 + (lane - 1) * _LANE
    return f"M{x1} {y1}H{out}V{above}H{back}V{y2}H{x2}"


def _in_words(arrow: Link) -> str:
    if arrow.kind == "control-plane":
        return f"proxies in {arrow.begin} are configured by istiod in {arrow.end}"
    also = ", and the other way round" if arrow.both else ""
    return f"istiod in {arrow.begin} reads the API server of {arrow.end} by a remote secret{also}"


@dataclass(frozen=True)
class Bar:
    """A step; `left` and `width` in percent of the axis."""

    step: StepReport
    left: float
    width: float


@dataclass(frozen=True)
class Lane:
    """The steps of one cluster, in the order in which they began."""

    cluster: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Tick:
    """A mark of an axis; `left` in percent."""

    label: str
    left: float


@dataclass(frozen=True)
class Timeline:
    """All steps of a topology; those that span it come first."""

    seconds: float
    lanes: tuple[Lane, ...]
    ticks: tuple[Tick, ...]


def timeline(steps: Sequence[StepReport]) -> Timeline:
    """Lay steps out along the time from the first one's beginning to the last one's end."""
    end = max((each.began + each.seconds for each in steps), default=0.0)
    whole = end or 1.0
    lanes = tuple(
        Lane(
            cluster,
            tuple(
                Bar(each, 100 * each.began / whole, 100 * each.seconds / whole)
                for each in steps
                if each.cluster == cluster
            ),
        )
        for cluster in sorted({each.cluster for each in steps})
    )
    pace = tick_seconds(whole)
    ticks = tuple(Tick(str(at), 100 * at / whole) for at in range(0, int(whole) + 1, pace))
    return Timeline(end, lanes, ticks)


def tick_seconds(whole: float) -> int:
    """Seconds from one mark to the next: 1, 2 or 5 times a power of ten."""
    least = max(whole / _MOST_TICKS, 1.0)
    power = int(10 ** floor(log10(least)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= ceil(least) * 0.999)


@dataclass(frozen=True)
class LatencyRow:
    """Answers of one version over one path; places in percent of the axis."""

    latency: Latency
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class LatencyPlot:
    """All rows of a topology, on one axis."""

    rows: tuple[LatencyRow, ...]
    ticks: tuple[Tick, ...]

    @property
    def clusters(self) -> tuple[str, ...]:
        """Where clients are, each once."""
        return tuple(dict.fromkeys(each.latency.cluster for each in self.rows))

    def of(self, cluster: str) -> tuple[LatencyRow, ...]:
        """The rows of a cluster's clients."""
        return tuple(each for each in self.rows if each.latency.cluster == cluster)


def latency_plot(latencies: Sequence[Latency]) -> LatencyPlot:
    """Lay latencies out from the mark below the shortest to that above the longest."""
    shortest = min((each.p50_ms for each in latencies), default=1.0)
    longest = max((each.p99_ms for each in latencies), default=1.0)
    marks = _marks(max(shortest, _SHORTEST_MS), max(longest, _SHORTEST_MS))
    low, high = log10(marks[0]), log10(marks[-1])

    def place(milliseconds: float) -> float:
        at = log10(max(milliseconds, marks[0]))
        return 100 * (at - low) / (high - low)

    rows = tuple(
        LatencyRow(each, place(each.p50_ms), place(each.p90_ms), place(each.p99_ms))
        for each in latencies
    )
    shown = marks if len(marks) <= _MOST_MARKS else _powers_of_ten(marks)
    return LatencyPlot(rows, tuple(Tick(f"{each:g}", place(each)) for each in shown))


def _marks(shortest: float, longest: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from one that is no more than the shortest to one that is no
    less than the longest: at least two.
    """
    first = floor(log10(shortest))
    every = (round(step * 10.0**power, 10) for power in count(first) for step in _STEPS)
    marks = list(takewhile(lambda mark: mark < longest * 5, every))
    while len(marks) > 2 and marks[1] <= shortest:
        del marks[0]
    while len(marks) > 2 and marks[-2] >= longest:
        del marks[-1]
    return marks


def _powers_of_ten(marks: Sequence[float]) -> list[float]:
    return [each for each in marks if log10(each).is_integer()]

"""Splits topologies into shards that take about the same time, for runs on several machines.

Which topology belongs to which shard follows from ids and times alone, so that machines that know
nothing of each other agree as long as they are given the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mesh_fixtures.options import SHARD_FORM

if TYPE_CHECKING:
    from mesh_fixtures.scenario import Scenario

SECONDS: Final[Mapping[str, float]] = {
    "external-control-plane": 70,
    "four-networks": 90,
    "multi-primary": 43,
    "multi-primary-multi-network": 48,
    "multi-primary-multi-network-dual-stack": 60,
    "multi-primary-multi-network-ipv6": 55,
    "multi-primary-multi-network-mcs": 60,
    "multi-primary-multi-network-revision": 50,
    "multi-primary-multi-network-same-addresses": 50,
    "multi-primary-revision": 45,
    "primary-remote": 42,
    "primary-remote-and-primary": 70,
    "primary-remote-ipv6": 48,
    "primary-remote-multi-network": 57,
    "primary-remote-multi-network-mcs": 70,
    "primary-remote-multi-network-revision": 59,
    "primary-remote-revision": 44,
    "three-clusters-two-networks": 66,
    "two-regions": 51,
    "two-remotes-two-networks": 70,
}
"""By topology, from the first step to a clean machine, as `measured` reads it from reports of a run
on the embedded lab with 2 cores. Only how they compare matters."""

SECONDS_PER_NODE: Final = 20.0
"""Of a topology that nobody has measured; about what those above take."""


@dataclass(frozen=True)
class Shard:
    """One of several parts.

    Attributes:
        index: from 1 to count.
    """

    index: int
    count: int

    @classmethod
    def read(cls, text: str) -> Shard:
        """The shard that a text such as `2/3` means.

        Raises:
            ValueError: it means none; says what is valid.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if found is None:
            raise ValueError(f"{text!r} is not of the form {SHARD_FORM}, as in 1/3")
        shard = cls(int(found[1]), int(found[2]))
        if not 1 <= shard.index <= shard.count:
            raise ValueError(f"{text!r}: of {shard.count} shards, there is no number {shard.index}")
        return shard

    def of(self, shards: Sequence[frozenset[str]]) -> frozenset[str]:
        """This one's content: nothing where there are fewer."""
        return shards[self.index - 1] if self.index <= len(shards) else frozenset()

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def split(seconds: Mapping[str, float], count: int) -> tuple[frozenset[str], ...]:
    """Split topologies by the rule of the longest processing time first: the longest that is left
    goes where least is. No shard takes more than 4/3 - 1/(3 count) of what the longest takes in the
    best split (source: R. L. Graham, "Bounds on Multiprocessing Timing Anomalies", 1969).

    Args:
        seconds: by topology.

    Returns:
        A set of topologies for each shard that has any: the first `count`, or as many as there are
        topologies.
    """
    # more would all be empty
    filled = min(count, len(seconds))
    shards: list[set[str]] = [set() for _ in range(filled)]
    loads = [0.0] * filled
    for topology in sorted(seconds, key=lambda each: (-seconds[each], each)):
        least = min(range(filled), key=lambda each: (loads[each], len(shards[each]), each))
        shards[least].add(topology)
        loads[least] += seconds[topology]
    return tuple(map(frozenset, shards))


def estimate(scenario: Scenario, measured: Mapping[str, float]) -> float:
    """Seconds that a topology is going to take.

    Args:
        measured: by topology; where it is not in there, what was measured for this project counts,
            else its size.
    """
    known = {**SECONDS, **measured}
    nodes = sum(each.nodes for each in scenario.clusters)
    return known.get(scenario.id, SECONDS_PER_NODE * nodes)


def measured(paths: Iterable[Path]) -> dict[str, float]:
    """Seconds that earlier runs took, by topology: the median of those that came to their end.

    Args:
        paths: reports, or folders of them.

    Raises:
        ReportError: some cannot be used.
    """
    files = list(paths)
    if not files:
        return {}
    # takes a moment to import, which runs without are spared
    from statistics import median

    from mesh_fixtures.report.merging import load

    found: dict[str, list[float]] = {}
    for report in load(files):
        if report.steps and not report.run.interrupted:
            found.setdefault(report.topology.id, []).append(report.seconds)
    return {topology: median(each) for topology, each in found.items()}

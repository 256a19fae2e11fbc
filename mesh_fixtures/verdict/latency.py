"""How long answers took, by the version that answered and by the way to it: figures, no verdict.

Times are the client's own (`curl`'s `time_total`), so that nothing of the way from this machine to
the client is in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

from mesh_fixtures.probe.traffic import Answer
from mesh_fixtures.verdict.expectations import Destination

Path = Literal["local", "cross-network"]
"""Local: to pods on the client's own network. Cross-network: through another network's gateways."""

QUANTILES: Final = (50, 90, 99)
"""Percentiles that are reported."""


@dataclass(frozen=True)
class LatencySample:
    """Answers of one version over one way.

    Attributes:
        milliseconds: by percentile, each of `QUANTILES`.
    """

    version: str
    path: Path
    answers: int
    milliseconds: Mapping[int, float]


def latencies(
    wanted: Iterable[Destination], answers: Iterable[Answer]
) -> tuple[LatencySample, ...]:
    """The latencies of a client's requests, by path and version: local ones first.

    Args:
        wanted: where the client's requests go. Answers of pods that are in none are left out, as it
            is not known how they were reached.
    """
    path_of: dict[str, Path] = {
        pod: "cross-network" if each.cross_network else "local"
        for each in wanted
        for pod in each.instances
    }
    seconds: dict[tuple[Path, str], list[float]] = {}
    for answer in answers:
        if path := path_of.get(answer.instance):
            seconds.setdefault((path, answer.version), []).append(answer.seconds)
    return tuple(
        LatencySample(
            version=version,
            path=path,
            answers=len(times),
            milliseconds={each: round(1000 * percentile(times, each), 3) for each in QUANTILES},
        )
        for (path, version), times in sorted(seconds.items(), key=lambda found: _order(*found[0]))
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest of the values that so many percent of them do not exceed (nearest rank): always
    one that was measured. Of fewer than 100 values, the 99th percentile is the largest.

    Args:
        values: at least one.
        percent: from 1 to 100.
    """
    return sorted(values)[ceil(percent * len(values) / 100) - 1]


def _order(path: Path, version: str) -> tuple[bool, str]:
    return path != "local", version

"""Who answered whom: read from the figures of the traffic requirements."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from mesh_fixtures.report.model import Answers, Distribution, Figure

REQUESTS: Final = "TRAFFIC-1"
SHARES: Final = "TRAFFIC-2"

_BAND: Final = re.compile(r"(\d+) to (\d+) of (\d+)")


def distributions(figures: Mapping[str, Mapping[str, Figure]]) -> tuple[Distribution, ...]:
    """The distribution of the answers to each cluster's requests.

    Args:
        figures: by requirement.

    Returns:
        One for each cluster whose shares were judged, in the order of the figures.
    """
    shares = figures.get(SHARES, {})
    failures = figures.get(REQUESTS, {})
    found: list[Distribution] = []
    clusters = dict.fromkeys(
        cluster for cluster, kind, _ in map(_parts, shares) if kind == "expected_share"
    )
    for cluster in clusters:
        answers = tuple(
            _answers(cluster, name, shares)
            for owner, kind, name in map(_parts, shares)
            if owner == cluster and kind == "expected_share"
        )
        failed = failures.get(f"{cluster}.failures", 0)
        found.append(
            Distribution(
                cluster=cluster,
                total=sum(each.count for each in answers),
                failures=failed if isinstance(failed, int) else 0,
                answers=answers,
            )
        )
    return tuple(found)


def _parts(figure: str) -> tuple[str, str, str]:
    """Cluster, kind and destination that a figure's name holds; destinations have dots."""
    cluster, _, rest = figure.partition(".")
    kind, _, name = rest.partition(".")
    return cluster, kind, name


def _answers(cluster: str, name: str, shares: Mapping[str, Figure]) -> Answers:
    band = _BAND.fullmatch(str(shares.get(f"{cluster}.band.{name}", "")))
    low, high, total = map(int, band.groups()) if band else (0, 0, 0)
    share = float(shares.get(f"{cluster}.share.{name}", 0.0))
    return Answers(
        name=name,
        count=round(share * total),
        share=share,
        expected=float(Fraction(str(shares[f"{cluster}.expected_share.{name}"]))),
        low=low,
        high=high,
    )

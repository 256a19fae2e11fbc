"""Meshes of any number of clusters, and how what they take grows: of `tools.bench --clusters`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from mesh_fixtures.scenario import ClusterSpec, NetworkSpec, Scenario

MOST: Final = 16
"""Clusters of a mesh; more have not been tried."""


def mesh_of(clusters: int) -> Scenario:
    """Primaries with a remote each, the two on a network that no others are on; the last primary
    has none where the number is odd.
    """
    specs = []
    for place in range(clusters):
        primary = place - place % 2 + 1
        specs.append(
            ClusterSpec(
                name=f"cluster{place + 1}",
                network=f"network{place // 2 + 1}",
                role="remote" if place % 2 else "primary",
                primary=f"cluster{primary}" if place % 2 else None,
                helloworld=f"v{place + 1}",
            )
        )
    networks = dict.fromkeys(each.network for each in specs)
    return Scenario(
        id=f"clusters-{clusters}",
        title=f"{clusters} clusters, primaries with a remote each",
        mesh="mesh1",
        networks=tuple(NetworkSpec(name=each) for each in networks),
        clusters=tuple(specs),
    )


def table(
    title: str, counts: Iterable[int], medians: Iterable[tuple[float, float, float]]
) -> Sequence[str]:
    """Lines with what runs of each number of clusters took, in all and for each cluster.

    Args:
        medians: seconds, the processor's seconds and MiB, in the order of the counts.
    """
    rows: list[tuple[str, ...]] = [(title, "seconds", "each", "processor", "each", "MiB", "each")]
    for count, values in zip(counts, medians, strict=True):
        digits = (1, 1, 0)
        cells = [
            f"{value / by:.{places}f}"
            for value, places in zip(values, digits, strict=True)
            for by in (1, count)
        ]
        rows.append((f"{count}", *cells))
    width = max(len(row[0]) for row in rows)
    return [f"{row[0]:<{width}}" + "".join(f"{each:>11}" for each in row[1:]) for row in rows]

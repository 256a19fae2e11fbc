"""Requests in a dual-stack mesh that are sent to addresses of one family only.

A name has addresses of both, of which clients take whichever answers first: that one of them leads
nowhere does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from mesh_fixtures.kube import KubeClient
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.traffic import TrafficSample
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure
from mesh_fixtures.scenario import IpFamily
from mesh_fixtures.verdict.findings import Finding

REQUESTS: Final = 40
"""From each cluster, by each family."""

REQUEST_SECONDS: Final = 3.0
BUDGET_SECONDS: Final = 20
"""After which no further ones of these are begun."""

ByFamily = Mapping[IpFamily, Mapping[str, TrafficSample]]
"""By family and the client's cluster."""


def by_family(mesh: ObservedMesh, requests: Callable[..., TrafficSample]) -> ByFamily:
    """Requests of all clusters by each family; none where the mesh has one family only.

    Args:
        requests: as `probe.traffic.requests`.

    Raises:
        ProbeError: as `requests`.
    """
    if not mesh.scenario.is_dual_stack:
        return {}

    def sent(family: IpFamily) -> Mapping[str, TrafficSample]:
        def send(kube: KubeClient) -> TrafficSample:
            return requests(
                kube,
                REQUESTS,
                request_seconds=patient(REQUEST_SECONDS),
                budget_seconds=whole(BUDGET_SECONDS),
                family=family,
            )

        return mesh.view.each(send, [*mesh.traffic])

    return {family: sent(family) for family in mesh.scenario.ip_families}


def figures(seen: ByFamily) -> Mapping[str, Figure]:
    return {
        f"{cluster}.{family.lower()}.{what}": number
        for family, samples in seen.items()
        for cluster, sample in samples.items()
        for what, number in (("requests", sample.sent), ("failures", len(sample.failures)))
    }


def judged(
    seen: ByFamily, usual: Mapping[str, TrafficSample], keeping: Collection[str] = ()
) -> Iterator[Finding]:
    """What one family has failed at.

    Args:
        usual: requests by any family, whose answers are to be had by each.
        keeping: clusters whose clients keep to a server for each of their addresses.
    """
    for family, samples in seen.items():
        for cluster, sample in samples.items():
            missing = usual[cluster].versions.keys() - sample.versions.keys()
            if sample.failures:
                shown = "; ".join(map(str, sample.failures[:3]))
                yield Finding(
                    cluster,
                    f"{sample.requested} requests to addresses of {family} without an error",
                    f"{len(sample.failures)} errors in {sample.sent} requests: {shown}",
                    sample.source,
                )
            elif missing and not sample.cut_short and cluster not in keeping:
                yield Finding(
                    cluster,
                    f"answers from {', '.join(sorted(usual[cluster].versions))} at addresses of "
                    f"{family}, too",
                    f"none from {', '.join(sorted(missing))} in {sample.sent} answers",
                    sample.source,
                )

"""RESILIENCE-2: an east-west gateway restarts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

from mesh_fixtures.kube import Source
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.continuous import ContinuousTraffic, Stream
from mesh_fixtures.probe.gateways import Gateway, gateways
from mesh_fixtures.requirements.disruption import Disruption
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.resilience_traffic import (
    SLOWEST_SECONDS,
    WAITING_SECONDS,
    begin,
    figures,
    judged,
    judged_while,
    now,
    overdue,
    watch,
)
from mesh_fixtures.verdict.continuity import aftermath, share_through
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding

RESTART_SECONDS: Final = 30.0
"""From the end of a gateway's pods to new ones that are ready, and to the last error because of it.
Old pods may pass traffic on for their termination grace of 30 s (Kubernetes' default), and new ones
start within that where their images are."""

ERRORED_SECONDS: Final = WAITING_SECONDS
"""Error budget of a client whose requests go through the gateway: so many errored seconds more than
it takes until a new pod is ready. One request may wait in vain that began when it was; connections
that old pods pass on are cut off once, when those end. Other clients' budget is no error at all."""

_MOST_SECONDS: Final = int(3 * SLOWEST_SECONDS + 2 * RESTART_SECONDS) + 30


def judge(mesh: ObservedMesh) -> Outcome:
    names = [
        each.name for each in mesh.scenario.data_planes if mesh.scenario.needs_gateway(each.name)
    ]
    there = mesh.view.each(gateways, names)

    def parts(disruption: Disruption) -> Iterator[Outcome]:
        for cluster in [name for name in names if there[name]]:
            yield _restarted(mesh, disruption, cluster).judged()
            disruption.restore(cluster)

    return judged_while(mesh, "gateways", parts)


@dataclass(frozen=True)
class Restart:
    """Requests while the gateway of a cluster restarted.

    Attributes:
        shares: of each client's requests that go through it.
        change: when its pods were deleted.
        seconds: until new ones were ready; None when they were not in time.
        seen: its last state.
    """

    cluster: str
    source: Source
    streams: Mapping[str, Stream]
    shares: Mapping[str, Fraction]
    change: float
    seconds: float | None
    seen: str

    def judged(self) -> Outcome:
        """Judge the requests.

        Raises:
            ProbeError: too few requests were sent to tell.
        """
        gateway = f"the east-west gateway of {self.cluster}"
        restart = patient(RESTART_SECONDS)
        findings: list[Finding] = []
        measured: dict[str, Figure] = {}
        if self.seconds is None:
            expected = f"{gateway} to be ready within {restart:g} s when its pods ended"
            findings.append(Finding(self.cluster, expected, self.seen, self.source))
        else:
            measured[f"{self.cluster}.seconds_to_ready"] = round(self.seconds, 3)
        for client, stream in self.streams.items():
            seen = aftermath(stream.requests, self.change)
            name, share = f"{self.cluster}.{client}", self.shares[client]
            measured |= figures(name, seen)
            measured[f"{name}.share_through_gateway"] = str(share)
            expected = f"no error later than {restart:g} s after {gateway} restarted"
            findings += overdue(stream, seen, restart, expected)
            if self.seconds is None:
                continue
            budget = ceil(self.seconds) + whole(ERRORED_SECONDS) if share else 0
            measured[f"{name}.errored_seconds_allowed"] = budget
            if seen.errored_seconds > budget:
                expected = (
                    f"at most {budget} errored seconds while {gateway} restarted, through which "
                    f"{share} of its requests go"
                )
                errored = f"{seen.errored_seconds}: {seen}"
                findings.append(Finding(client, expected, errored, stream.source))
        return judged(self.streams, findings, measured)


def _restarted(mesh: ObservedMesh, disruption: Disruption, cluster: str) -> Restart:
    """End the pods of a cluster's gateway, and wait until others have taken over."""
    kube = mesh.view.kube[cluster]
    before = gateways(kube)
    addresses = [address for gateway in before for address in gateway.addresses]
    shares = {
        client: share_through(each.seen, addresses) for client, each in mesh.endpoints.items()
    }
    restart = patient(RESTART_SECONDS)
    with ContinuousTraffic(mesh.view, seconds=whole(_MOST_SECONDS)) as traffic:
        begin(traffic)
        editor = disruption.editor(cluster)
        change = now()
        for gateway in before:
            for pod in gateway.pods:
                editor.delete(PODS, pod.meta.namespace, pod.name)
        ready = settle(
            lambda: gateways(kube),
            lambda found: _taken_over(before, found),
            deadline=restart,
            interval=0.25,
        )
        gone = settle(
            lambda: gateways(kube),
            lambda found: not _pods(found) & _pods(before),
            deadline=restart - ready.seconds,
            interval=0.25,
        )
        left = restart - ready.seconds - gone.seconds
        watch(traffic, now(), max(left, 0.0) + patient(SLOWEST_SECONDS))
        streams = traffic.stop()
    return Restart(
        cluster=cluster,
        source=before[0].source,
        streams=streams,
        shares=shares,
        change=change,
        seconds=ready.seconds if ready.accepted else None,
        seen="; ".join(map(str, gone.value)) or "no gateway",
    )


def _pods(found: Iterable[Gateway]) -> frozenset[str]:
    return frozenset(pod.name for gateway in found for pod in gateway.pods)


def _taken_over(before: Iterable[Gateway], found: Iterable[Gateway]) -> bool:
    """Whether each gateway has as many new pods that serve as it had before."""
    old = _pods(before)
    serving = {
        str(gateway.service.meta): sum(pod.serving and pod.name not in old for pod in gateway.pods)
        for gateway in found
    }
    return all(
        serving.get(str(gateway.service.meta), 0) >= sum(pod.serving for pod in gateway.pods)
        for gateway in before
    )


REQUIREMENT = Requirement(
    id="RESILIENCE-2",
    level="extended",
    title=(
        "When an east-west gateway restarts, requests that bypass it never fail, and the few "
        "failures of those through it soon end."
    ),
    judge=judge,
    section="Deployment models: Multiple clusters",
    url="https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-clusters",
    needs="sample",
    rests_on=("TRAFFIC-2",),
    seconds=1200,
    features=("east-west-gateway",),
    disruptive=True,
)

"""RESILIENCE-1: HelloWorld goes down in a cluster, and comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from mesh_fixtures.kube.resources import DEPLOYMENTS, PODS
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.continuous import ContinuousTraffic, Stream, TimedRequest
from mesh_fixtures.probe.workloads import HELLOWORLD
from mesh_fixtures.requirements import traffic_2
from mesh_fixtures.requirements.disruption import Disruption
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.resilience_traffic import (
    CONVERGENCE_SECONDS,
    SLOWEST_SECONDS,
    begin,
    figures,
    judged,
    judged_while,
    now,
    overdue,
    watch,
)
from mesh_fixtures.verdict.continuity import aftermath
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.findings import Finding
from mesh_fixtures.workloads import READY_SECONDS

_MOST_SECONDS: Final = int(3 * SLOWEST_SECONDS + 2 * CONVERGENCE_SECONDS + READY_SECONDS) + 30
"""Until clients stop by themselves: all that is waited for, one after the other."""


def judge(mesh: ObservedMesh) -> Outcome:
    def parts(disruption: Disruption) -> Iterator[Outcome]:
        for cluster in mesh.scenario.data_planes:
            yield _without(mesh, disruption, cluster.name).judged()
            yield _shares(mesh, cluster.name)

    return judged_while(mesh, "helloworld", parts)


@dataclass(frozen=True)
class Absence:
    """Requests while the HelloWorld of a cluster was away and when it came back.

    Attributes:
        instances: pods that went away.
        left: when their Deployments were scaled down.
        back: when these were scaled up again.
        returned: when the first of them had answered; None when none did.
    """

    cluster: str
    version: str
    instances: frozenset[str]
    streams: Mapping[str, Stream]
    left: float
    back: float
    returned: float | None

    def judged(self) -> Outcome:
        """Judge the requests.

        Raises:
            ProbeError: too few requests were sent to tell.
        """
        gone = f"HelloWorld {self.version} of {self.cluster}"
        convergence = patient(CONVERGENCE_SECONDS)
        findings: list[Finding] = []
        measured: dict[str, Figure] = {}
        astray = _failed_or_by(self.instances)
        for client, stream in self.streams.items():
            away = aftermath(stream.requests, self.left, self.back, astray)
            measured |= figures(f"{self.cluster}.away.{client}", away)
            expected = (
                f"all requests to go elsewhere without an error, {convergence:g} s after "
                f"{gone} went away at the latest"
            )
            findings += overdue(stream, away, convergence, expected)
        if self.returned is None:
            expected = f"{gone} to answer within {patient(READY_SECONDS):g} s when it is back"
            findings.append(Finding(self.cluster, expected, "no answer by it"))
            return judged(self.streams, findings, measured)
        seconds = self.returned - self.back
        measured[f"{self.cluster}.back.seconds_to_first_answer"] = round(seconds, 3)
        for client, stream in self.streams.items():
            back = aftermath(stream.requests, self.back)
            measured |= figures(f"{self.cluster}.back.{client}", back)
            expected = f"no error any more, {convergence:g} s after {gone} is back at the latest"
            findings += overdue(stream, back, seconds + convergence, expected)
        return judged(self.streams, findings, measured)


def _failed_or_by(instances: frozenset[str]) -> Callable[[TimedRequest], bool]:
    return lambda request: request.failed or request.instance in instances


def _without(mesh: ObservedMesh, disruption: Disruption, cluster: str) -> Absence:
    """Take the HelloWorld of a cluster away, and bring it back."""
    known = mesh.view.each(
        lambda kube: frozenset(
            pod.name for pod in kube.list(PODS, kube.sample_namespace, HELLOWORLD)
        )
    )
    everywhere = frozenset().union(*known.values())
    kube = mesh.view.kube[cluster]
    with ContinuousTraffic(mesh.view, seconds=whole(_MOST_SECONDS)) as traffic:
        begin(traffic)

        left = now()
        for each in kube.list(DEPLOYMENTS, kube.sample_namespace, HELLOWORLD):
            disruption.scale(cluster, each, 0)
        astray = _failed_or_by(known[cluster])
        watch(traffic, left, patient(CONVERGENCE_SECONDS + SLOWEST_SECONDS), astray)

        back = now()
        disruption.scale_back()
        returned = settle(
            lambda: _first_answer(traffic, everywhere),
            lambda at: at is not None,
            deadline=patient(READY_SECONDS),
            interval=0.25,
        ).value
        if returned is not None:
            watch(traffic, returned, patient(CONVERGENCE_SECONDS + SLOWEST_SECONDS))
        streams = traffic.stop()
    version = mesh.scenario.cluster(cluster).helloworld
    return Absence(cluster, version, known[cluster], streams, left, back, returned)


def _first_answer(traffic: ContinuousTraffic, known: frozenset[str]) -> float | None:
    """When a pod that was not known before first answered any client."""
    ends = [
        request.ended
        for requests in traffic.so_far().values()
        for request in requests
        if request.instance and request.instance not in known
    ]
    return min(ends, default=None)


def _shares(mesh: ObservedMesh, cluster: str) -> Outcome:
    """Whether the shares of the answers are as they should be after a HelloWorld came back."""
    mesh.forget()
    outcome = traffic_2.REQUIREMENT.check(mesh)
    if outcome.trouble is not None:
        raise outcome.trouble
    after = f"after HelloWorld of {cluster} came back, "
    return Outcome.judged(
        (replace(each, expected=after + each.expected) for each in outcome.findings),
        {f"{cluster}.back.{name}": figure for name, figure in outcome.figures.items()},
    )


REQUIREMENT = Requirement(
    id="RESILIENCE-1",
    level="extended",
    title=(
        "When HelloWorld goes down in a cluster, all requests soon succeed elsewhere; when it "
        "is back, the distribution of answers is as before."
    ),
    judge=judge,
    section="Deployment models: Multiple clusters",
    url="https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-clusters",
    needs="sample",
    rests_on=("TRAFFIC-2",),
    features=("multi-cluster",),
    seconds=1200,
    disruptive=True,
)

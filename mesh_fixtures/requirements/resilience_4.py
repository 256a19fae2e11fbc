"""RESILIENCE-4: remote secrets are rotated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import DEPLOYMENTS, PODS
from mesh_fixtures.patience import patient, whole
from mesh_fixtures.probe.continuous import ContinuousTraffic
from mesh_fixtures.probe.envoy import Endpoints, endpoints
from mesh_fixtures.probe.workloads import HELLOWORLD, SLEEP
from mesh_fixtures.requirements.disruption import Disruption
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome, Requirement
from mesh_fixtures.requirements.resilience_clients import all_known, clients_of
from mesh_fixtures.requirements.resilience_rotation import (
    ROTATION_SECONDS,
    TOKEN_SECONDS,
    Rotation,
    new_token,
    planned,
    replace,
    taken_up,
)
from mesh_fixtures.requirements.resilience_traffic import (
    CONVERGENCE_SECONDS,
    SLOWEST_SECONDS,
    begin,
    combined,
    figures,
    judged,
    judged_while,
    now,
    watch,
)
from mesh_fixtures.verdict.client_endpoints import client_endpoints
from mesh_fixtures.verdict.continuity import aftermath
from mesh_fixtures.verdict.convergence import Settled, settle
from mesh_fixtures.verdict.findings import Finding
from mesh_fixtures.workloads import READY_SECONDS

ERROR_BUDGET: Final = 0
"""Requests that may fail while secrets are rotated: no pod and no endpoint is touched."""

ROTATIONS: Final = ("first", "second")
"""Rotations, one soon after the other: an istiod that has not let go of what it read by the first
token may lose by the second what it reads by its successor."""

_MOST_SECONDS: Final = int(3 * SLOWEST_SECONDS + TOKEN_SECONDS + 2 * ROTATION_SECONDS) + 30


def judge(mesh: ObservedMesh) -> Outcome:
    rotations = [planned(mesh, which) for which in mesh.scenario.remote_secrets]
    clients = clients_of(mesh)

    def parts(disruption: Disruption) -> Iterator[Outcome]:
        for number, ordinal in enumerate(ROTATIONS, start=1):
            yield _rotated(mesh, disruption, [each.again() for each in rotations], ordinal)
            yield all_known(mesh, disruption, clients, more=number, change=f"{ordinal} rotation")
        yield _all_away(mesh, disruption)
        yield _all_back(mesh, disruption)

    return judged_while(mesh, "remote_secrets", parts)


def _rotated(
    mesh: ObservedMesh, disruption: Disruption, rotations: list[Rotation], ordinal: str
) -> Outcome:
    """Put new tokens into all remote secrets."""
    tokens = [new_token(mesh, disruption, each) for each in rotations]
    with ContinuousTraffic(mesh.view, seconds=whole(_MOST_SECONDS)) as traffic:
        begin(traffic)
        change = now()
        for each, token in zip(rotations, tokens, strict=True):
            replace(disruption, each, token)
        outcomes = [taken_up(mesh, each, change, ordinal) for each in rotations]
        watch(traffic, now(), patient(SLOWEST_SECONDS))
        streams = traffic.stop()
    findings: list[Finding] = []
    measured: dict[str, Figure] = {}
    for client, stream in streams.items():
        seen = aftermath(stream.requests, change)
        measured |= figures(f"{ordinal}_rotation.{client}", seen)
        if len(seen.failures) > ERROR_BUDGET:
            expected = "no error while remote secrets are rotated"
            findings.append(Finding(client, expected, str(seen), stream.source))
    return combined([*outcomes, judged(streams, findings, measured)])


def _all_away(mesh: ObservedMesh, disruption: Disruption) -> Outcome:
    """Take HelloWorld away in all clusters, which every client must learn of. Of a pod on another
    network it learns no more than whether there is any.
    """
    for cluster in mesh.view.data_planes:
        kube = mesh.view.kube[cluster]
        for each in kube.list(DEPLOYMENTS, kube.sample_namespace, HELLOWORLD):
            disruption.scale(cluster, each, 0)
    findings: list[Finding] = []
    measured: dict[str, Figure] = {}
    seconds = patient(CONVERGENCE_SECONDS)
    for client, settled in mesh.view.each(_without_endpoints).items():
        measured[f"{client}.seconds_to_lose_endpoints"] = round(settled.seconds, 3)
        if not settled.accepted:
            seen = settled.value
            expected = f"no endpoint, {seconds:g} s after every HelloWorld went away"
            findings.append(Finding(client, expected, str(seen), seen.source))
    return Outcome.judged(findings, measured)


def _all_back(mesh: ObservedMesh, disruption: Disruption) -> Outcome:
    """Bring HelloWorld back in all clusters, which every client must learn of, too."""
    asked = now()
    disruption.scale_back()
    mesh.view.each(_await_helloworld)
    findings: list[Finding] = []
    measured: dict[str, Figure] = {"seconds_to_ready": round(now() - asked, 3)}
    seconds = patient(CONVERGENCE_SECONDS)
    for client, known in client_endpoints(mesh.view, seconds).items():
        measured[f"{client}.seconds_to_regain_endpoints"] = round(known.seconds, 3)
        if not known.verdict.complete:
            expected = f"an endpoint for every HelloWorld, {seconds:g} s after they came back"
            seen = f"{known.seen} ({known.verdict})"
            findings.append(Finding(client, expected, seen, known.seen.source))
    return Outcome.judged(findings, measured)


def _without_endpoints(kube: KubeClient) -> Settled[Endpoints]:
    sleep = kube.pod_of(kube.sample_namespace, SLEEP)
    return settle(
        lambda: endpoints(kube, sleep),
        lambda seen: not seen.endpoints,
        deadline=patient(CONVERGENCE_SECONDS),
        interval=0.25,
    )


def _await_helloworld(kube: KubeClient) -> None:
    seconds = patient(READY_SECONDS)
    settled = settle(
        lambda: kube.list(PODS, kube.sample_namespace, HELLOWORLD),
        lambda pods: any(pod.serving for pod in pods),
        deadline=seconds,
        interval=0.25,
    )
    if not settled.accepted:
        raise ProbeError(
            wanted=f"HelloWorld to be back within {seconds:g} s",
            seen=", ".join(f"{pod.name} {pod.state}" for pod in settled.value) or "no pod",
            where=kube.name,
        )


REQUIREMENT = Requirement(
    id="RESILIENCE-4",
    level="extended",
    title=(
        "While remote secrets are rotated, no request fails, istiod loses no endpoint, and "
        "endpoint changes still propagate."
    ),
    judge=judge,
    section="Install Multi-Primary: Enable Endpoint Discovery",
    url="https://istio.io/latest/docs/setup/install/multicluster/multi-primary/#enable-endpoint-discovery",
    needs="sample",
    rests_on=(
        "TRAFFIC-2",
        "DISCOVERY-1",
    ),
    features=("multi-cluster",),
    seconds=1200,
    disruptive=True,
)

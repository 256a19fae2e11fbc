"""What clients know and get after a change that istiod must not have lost anything by: those that
run, whose proxies keep what they once got, and those that start now, which get what istiod holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Deployment, KubeClient, Pod
from mesh_fixtures.kube.resources import DEPLOYMENTS, PODS
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.shards import Shards, Slices, difference, shards, slices
from mesh_fixtures.probe.traffic import TrafficSample, requests
from mesh_fixtures.probe.workloads import SLEEP
from mesh_fixtures.requirements import discovery_2
from mesh_fixtures.requirements.disruption import Disruption
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Figure, Outcome
from mesh_fixtures.requirements.resilience_traffic import CONVERGENCE_SECONDS, combined
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.client_endpoints import ClientEndpoints, client_endpoints
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.verdict.expectations import count_by_destination, expected_shares
from mesh_fixtures.verdict.findings import Finding, Subject
from mesh_fixtures.verdict.statistics import trials_to_see_all
from mesh_fixtures.workloads import READY_SECONDS

_INTERVAL: Final = 0.5


@dataclass(frozen=True)
class Clients:
    """Sleep of each cluster, to which clients are added until the mesh is restored.

    Attributes:
        deployments: by cluster, as they were.
        running: one of their pods, by cluster.
    """

    deployments: Mapping[str, Deployment]
    running: Mapping[str, Pod]


def clients_of(mesh: ObservedMesh) -> Clients:
    """Sleep of each cluster; nothing is done yet.

    Raises:
        ProbeError: there is none, or an API server cannot be asked.
    """

    def deployment(kube: KubeClient) -> Deployment:
        found = kube.list(DEPLOYMENTS, kube.sample_namespace, SLEEP)
        if not found:
            raise ProbeError(wanted="a Deployment of Sleep", seen="none", where=kube.name)
        return found[0]

    return Clients(
        mesh.view.each(deployment),
        mesh.view.each(lambda kube: kube.pod_of(kube.sample_namespace, SLEEP)),
    )


def all_known(
    mesh: ObservedMesh, disruption: Disruption, clients: Clients, *, more: int, change: str
) -> Outcome:
    """Whether clients that run and clients that start now know every HelloWorld and are answered by
    each, and whether every istiod holds what the clusters have.

    Args:
        more: clients that there are in each cluster then, beside those of the sample.
        change: what came before, as in "after the ...".

    Raises:
        ProbeError: something could not be observed.
    """
    name, after = change.replace(" ", "_"), f"after the {change}"
    started = _started(mesh, disruption, clients, more)
    outcomes: list[Outcome] = []
    for kind, client, pods in (
        ("running", f"a client that runs {after}", clients.running),
        ("new", f"a client that starts {after}", started),
    ):
        endpoints, samples = _asked(mesh, pods)
        figure = f"{name}.{kind}"
        outcomes.append(known(mesh.scenario, endpoints, client, figure))
        outcomes.append(answered(endpoints, samples, client, figure))
    scenario = mesh.scenario
    read = {each.name: scenario.read_by(each.name) for each in scenario.primaries}
    outcomes.append(held(*_settled_shards(mesh, read), read, after))
    return combined(outcomes)


def _asked(
    mesh: ObservedMesh, pods: Mapping[str, Pod]
) -> tuple[Mapping[str, ClientEndpoints], Mapping[str, TrafficSample]]:
    """What clients know, and what becomes of their requests."""
    endpoints = client_endpoints(mesh.view, patient(CONVERGENCE_SECONDS), clients=pods)
    samples = mesh.view.each(
        lambda kube: requests(kube, _enough(endpoints[kube.name]), client=pods[kube.name])
    )
    return endpoints, samples


def known(
    scenario: Scenario, endpoints: Mapping[str, ClientEndpoints], client: str, name: str
) -> Outcome:
    """Judge what clients' proxies know of HelloWorld.

    Args:
        client: which, in words.
        name: begins the names of figures.
    """
    findings: list[Finding] = []
    measured: dict[str, Figure] = {}
    for cluster, each in endpoints.items():
        measured[f"{name}.{cluster}.seconds_to_endpoints"] = round(each.seconds, 3)
        if not each.verdict.complete:
            targets = sorted(target for one in each.wanted for target in one.targets)
            expected = f"{client} to know exactly {', '.join(targets)}"
            seen = f"{each.seen} after {each.seconds:.0f} s ({each.verdict})"
            about = discovery_2.subject(scenario, each)
            findings.append(Finding(cluster, expected, seen, each.seen.source, about))
    return Outcome.judged(findings, measured)


def answered(
    endpoints: Mapping[str, ClientEndpoints],
    samples: Mapping[str, TrafficSample],
    client: str,
    name: str,
) -> Outcome:
    """Judge clients' requests by what their own proxies know: what is missing there is for `known`.

    Args:
        client: which, in words.
        name: begins the names of figures.
    """
    findings: list[Finding] = []
    measured: dict[str, Figure] = {}
    trouble: ProbeError | None = None
    for cluster, sample in samples.items():
        client_knows = endpoints[cluster]
        measured[f"{name}.{cluster}.requests"] = sample.sent
        measured[f"{name}.{cluster}.failures"] = len(sample.failures)
        counts = count_by_destination(client_knows.wanted, sample.instances)
        shares = expected_shares(client_knows.wanted, client_knows.seen)
        silent = [each for each, share in shares.items() if share and not counts.get(each)]
        expected = f"{client} to be answered by {', '.join(shares) or 'a HelloWorld'}"
        if sample.failures:
            seen = f"{len(sample.failures)} errors in {sample.sent} requests: {sample.failures[0]}"
            findings.append(Finding(cluster, expected, seen, sample.source))
        elif silent and sample.cut_short:
            trouble = trouble or ProbeError(
                wanted=f"{sample.requested} requests of {client}",
                seen=f"{sample.sent} before the time was over",
                where=cluster,
                remedy="use a less busy machine",
            )
        elif silent:
            seen = f"none of {', '.join(silent)} in {sample.sent} answers"
            findings.append(Finding(cluster, expected, seen, sample.source))
    if trouble is not None and not findings:
        return Outcome.inconclusive(trouble, measured)
    return Outcome.judged(findings, measured)


def held(
    shards_by_primary: Mapping[str, tuple[Shards, ...]],
    slices_by_cluster: Mapping[str, Slices],
    read: Mapping[str, tuple[str, ...]],
    after: str,
) -> Outcome:
    """Judge what istiods hold by what the clusters have.

    Args:
        read: the clusters that istiod of each primary must read.
    """
    findings = [
        Finding(
            primary,
            f"{each.istiod} to hold of HelloWorld what {cluster}'s EndpointSlices have, {after}",
            differs,
            each.source,
            Subject((cluster,)),
        )
        for primary, those in shards_by_primary.items()
        for each in those
        for cluster in read[primary]
        if (differs := _difference(each, slices_by_cluster[cluster], cluster))
    ]
    return Outcome.judged(findings)


def _difference(each: Shards, wanted: Slices, cluster: str) -> str:
    return difference(each.of(cluster), wanted.ready, wanted.not_ready)


def _settled_shards(
    mesh: ObservedMesh, read: Mapping[str, tuple[str, ...]]
) -> tuple[Mapping[str, tuple[Shards, ...]], Mapping[str, Slices]]:
    """What istiods hold and clusters have, once they agree or were waited for long enough."""
    return settle(
        lambda: (mesh.view.each(shards, read), mesh.view.each(slices)),
        lambda seen: not held(*seen, read, "").findings,
        deadline=patient(CONVERGENCE_SECONDS),
        interval=_INTERVAL,
    ).value


def _started(
    mesh: ObservedMesh, disruption: Disruption, clients: Clients, more: int
) -> Mapping[str, Pod]:
    """A ready client in each cluster that was started just now."""
    before = mesh.view.each(lambda kube: frozenset(each.name for each in _sleeping(kube)))
    for cluster, deployment in clients.deployments.items():
        disruption.scale(cluster, deployment, deployment.wanted + more)
    seconds = patient(READY_SECONDS)

    def started(kube: KubeClient) -> Pod:
        settled = settle(
            lambda: [each for each in _sleeping(kube) if each.name not in before[kube.name]],
            lambda pods: any(each.serving for each in pods),
            deadline=seconds,
            interval=_INTERVAL,
        )
        if not settled.accepted:
            raise ProbeError(
                wanted=f"another Sleep to be ready within {seconds:g} s",
                seen=", ".join(f"{pod.name} {pod.state}" for pod in settled.value) or "no pod",
                where=kube.name,
            )
        return next(each for each in settled.value if each.serving)

    return mesh.view.each(started)


def _sleeping(kube: KubeClient) -> Iterable[Pod]:
    return kube.list(PODS, kube.sample_namespace, SLEEP)


def _enough(client: ClientEndpoints) -> int:
    """Requests after which a destination that its proxy uses has answered, if any does."""
    shares = expected_shares(client.wanted, client.seen)
    return trials_to_see_all([each for each in shares.values() if each]) if shares else 1

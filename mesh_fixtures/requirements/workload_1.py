"""WORKLOAD-1: HelloWorld and Sleep run in their clusters, with proxies of the right istiod."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.probe.gateways import Gateway, gateways
from mesh_fixtures.probe.istiod import istiods
from mesh_fixtures.probe.workloads import Discovery, Injection, Workload, discovery, workloads
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Finding, Subject


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    workloads: Callable[[KubeClient], tuple[Workload, ...]] = workloads
    discovery: Callable[[KubeClient, str], Discovery] = discovery
    istiods: Callable[[KubeClient], tuple[Pod, ...]] = istiods
    gateways: Callable[[KubeClient], tuple[Gateway, ...]] = gateways


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    view, scenario = mesh.view, mesh.scenario
    found = view.each(probes.workloads)
    where = view.each(lambda kube: _discoveries(probes, kube, found[kube.name]))
    istiod = view.each(lambda kube: _addresses_of_istiod(probes, kube))
    findings: list[Finding] = []
    for cluster, pods in found.items():
        findings += _missing(scenario, cluster, pods)
        findings += [finding for pod in pods for finding in _not_running(pod)]
        findings += _misled(scenario, cluster, pods, where[cluster], istiod)
    return Outcome.judged(findings)


def _discoveries(
    probes: Probes, kube: KubeClient, pods: tuple[Workload, ...]
) -> dict[str, Discovery]:
    addresses = {pod.injection.discovery for pod in pods if pod.injection is not None}
    return {address: probes.discovery(kube, address) for address in sorted(addresses)}


def _addresses_of_istiod(probes: Probes, kube: KubeClient) -> tuple[frozenset[str], frozenset[str]]:
    """Addresses of this cluster's istiod for its own proxies, and for those of its remotes."""
    pods = frozenset(pod.ip for pod in probes.istiods(kube) if pod.serving)
    return pods, frozenset(each for gateway in probes.gateways(kube) for each in gateway.addresses)


def _missing(scenario: Scenario, cluster: str, pods: tuple[Workload, ...]) -> Iterator[Finding]:
    wanted = {("helloworld", scenario.cluster(cluster).helloworld), ("sleep", "")}
    seen = {(pod.app, pod.version) for pod in pods}
    if seen != wanted:
        expected = f"pods of {_listed(wanted)} only"
        yield Finding(cluster, expected, _listed(seen) or "none", about=Subject((cluster,)))


def _listed(workload: set[tuple[str, str]]) -> str:
    return ", ".join(f"{app} {version}".strip() for app, version in sorted(workload))


def _not_running(workload: Workload) -> Iterator[Finding]:
    pod = workload.pod
    if workload.injection is None:
        seen = f"containers {', '.join(each.name for each in pod.containers)}"
        expected = f"a proxy in {pod.meta}"
        yield Finding(workload.cluster, expected, seen, workload.source, _of(workload))
    if not pod.serving or pod.ready_containers != len(pod.containers):
        expected = f"{pod.meta} to be Running with every container ready"
        yield Finding(workload.cluster, expected, pod.state, workload.source, _of(workload))


def _misled(
    scenario: Scenario,
    cluster: str,
    pods: tuple[Workload, ...],
    where: Mapping[str, Discovery],
    istiod: Mapping[str, tuple[frozenset[str], frozenset[str]]],
) -> Iterator[Finding]:
    primary = scenario.control_plane_of(cluster)
    own, through_gateway = istiod[primary]
    wanted = own if primary == cluster else through_gateway
    for pod in pods:
        injection = pod.injection
        if injection is None:
            continue
        yield from _misplaced(scenario, pod, injection)
        seen_at = where[injection.discovery]
        if not seen_at.addresses or not seen_at.addresses <= wanted:
            expected = (
                f"the proxy of {pod.pod.meta} to find istiod of {primary} "
                f"at {', '.join(sorted(wanted)) or 'a missing address'}"
            )
            yield Finding(cluster, expected, str(seen_at), seen_at.source, _of(pod))


def _misplaced(scenario: Scenario, pod: Workload, injection: Injection) -> Iterator[Finding]:
    network = scenario.cluster(pod.cluster).network
    for what, wanted, seen in (
        ("cluster", pod.cluster, injection.cluster_id),
        ("network", network, injection.network),
        ("mesh", scenario.mesh_id, injection.mesh_id),
    ):
        if seen != wanted:
            expected = f"the proxy of {pod.pod.meta} to be configured with {what} {wanted}"
            yield Finding(pod.cluster, expected, seen or "nothing", pod.source, _of(pod))


def _of(workload: Workload) -> Subject:
    return Subject((workload.cluster,))


REQUIREMENT = Requirement(
    id="WORKLOAD-1",
    level="core",
    title=(
        "HelloWorld and Sleep run in their clusters with every container ready, and the right "
        "istiod configures their proxies."
    ),
    judge=judge,
    section="Verify the installation: Deploy the HelloWorld Service",
    url="https://istio.io/latest/docs/setup/install/multicluster/verify/#deploy-the-helloworld-service",
    needs="sample",
    rests_on=("CONTROL-1",),
    rests_on_for_remotes=(
        "GATEWAY-1",
        "DISCOVERY-1",
        "TRUST-1",
    ),
)

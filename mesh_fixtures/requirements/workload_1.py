"""WORKLOAD-1: HelloWorld and Sleep run in their clusters, with the right proxies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mesh_fixtures.kube import KubeClient
from mesh_fixtures.probe.workloads import Workload, workloads
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Finding, Subject


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    workloads: Callable[[KubeClient], tuple[Workload, ...]] = workloads


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    findings: list[Finding] = []
    for cluster, pods in mesh.view.each(probes.workloads).items():
        findings += _missing(mesh.scenario, cluster, pods)
        for pod in pods:
            findings += [*_not_running(pod), *_misplaced(mesh.scenario, pod)]
    return Outcome.judged(findings)


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


def _misplaced(scenario: Scenario, pod: Workload) -> Iterator[Finding]:
    """Where the proxy believes to be, as istiod has told it at injection."""
    injection = pod.injection
    if injection is None:
        return
    network = scenario.cluster(pod.cluster).network
    unnamed = "" if scenario.is_multi_network else network
    for what, wanted, seen in (
        ("cluster", pod.cluster, injection.cluster_id),
        ("network", network, injection.network or unnamed),
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
        "HelloWorld and Sleep run in their clusters with every container ready, and with proxies "
        "that were injected for their cluster and network."
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

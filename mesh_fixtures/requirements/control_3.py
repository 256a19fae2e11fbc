"""CONTROL-3: the cluster, network and mesh of proxies, and the network of pods without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mesh_fixtures.install.names import NETWORK_LABEL
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import NAMESPACES
from mesh_fixtures.probe.proxies import Answers, NodeMetadata, Proxy, ask_each, node_metadata
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Finding, Subject


def nodes(kube: KubeClient) -> Answers[NodeMetadata]:
    return ask_each(kube, node_metadata)


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    nodes: Callable[[KubeClient], Answers[NodeMetadata]] = nodes


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    found = mesh.view.each(probes.nodes)
    findings: list[Finding] = []
    for cluster, those in found.items():
        if mesh.has_samples and not those.answered and not those.silent:
            findings.append(Finding(cluster, "a ready proxy", "none", about=Subject((cluster,))))
        for proxy, metadata in those.answered:
            findings += _judged(mesh.scenario, proxy, metadata)
    for kube in mesh.view.kube.values():
        findings += _labelled(mesh.scenario, kube)
    figures = {f"{cluster}.proxies": len(those.answered) for cluster, those in found.items()}
    silent = [error for those in found.values() for _, error in those.silent]
    if silent and not findings:
        return Outcome.inconclusive(silent[0], figures)
    return Outcome.judged(findings, figures)


def _judged(scenario: Scenario, proxy: Proxy, metadata: NodeMetadata) -> Iterator[Finding]:
    network = scenario.cluster(proxy.cluster).network
    unnamed = "" if scenario.is_multi_network else network
    for what, wanted, seen in (
        ("cluster id", proxy.cluster, metadata.cluster_id),
        ("network", network, metadata.network or unnamed),
        ("mesh id", scenario.mesh_id, metadata.mesh_id),
    ):
        if seen != wanted:
            expected = f"the proxy of {proxy} to report to istiod the {what} {wanted}"
            yield Finding(
                proxy.cluster, expected, seen or "none", metadata.source, Subject((proxy.cluster,))
            )


def _labelled(scenario: Scenario, kube: KubeClient) -> Iterator[Finding]:
    """The network of pods without a proxy. It may be left out where there is only one.

    Source: Istio, Install Multi-Primary on different networks (Set the default network).
    """
    name = kube.names.system_namespace
    namespace = kube.get(NAMESPACES, "", name)
    seen = "" if namespace is None else namespace.meta.labels.get(NETWORK_LABEL, "")
    wanted = scenario.cluster(kube.name).network
    if seen != wanted and (seen or scenario.is_multi_network):
        expected = f"{name} to have the label {NETWORK_LABEL}={wanted}"
        source = kube.source("namespaces", "", f"{name} --show-labels")
        about = Subject((kube.name,))
        yield Finding(kube.name, expected, seen or "no such label", source, about)


REQUIREMENT = Requirement(
    id="CONTROL-3",
    level="core",
    title=(
        "Every proxy reports the scenario's cluster id, network and mesh id to istiod; with "
        "several networks, the system namespace is labelled with its cluster's network."
    ),
    judge=judge,
    section="Deployment models: Networks",
    url="https://istio.io/latest/docs/ops/deployment/deployment-models/#network-models",
    needs="sample",
    rests_on=("WORKLOAD-1",),
    without_samples=True,
)

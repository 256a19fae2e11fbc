"""CONTROL-3: the cluster, network and mesh of proxies, and the network of pods without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.names import NETWORK_LABEL
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import NAMESPACES
from mesh_fixtures.probe.proxies import NodeMetadata, Proxy, ProxyAnswers, ask_each, node_metadata
from mesh_fixtures.probe.shards import HeldNetworks, held_networks
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Finding, Subject

_NO_MATTER: Final = (
    "{}: proxies report the mesh id {}, others another one: no request depends on it, metrics do"
)


def nodes(kube: KubeClient) -> ProxyAnswers[NodeMetadata]:
    return ask_each(kube, node_metadata)


@dataclass(frozen=True)
class Probes:
    """How the mesh is observed."""

    nodes: Callable[[KubeClient], ProxyAnswers[NodeMetadata]] = nodes
    networks: Callable[[KubeClient], tuple[HeldNetworks, ...]] = held_networks


def judge(mesh: ObservedMesh, probes: Probes = Probes()) -> Outcome:
    found = mesh.view.each(probes.nodes)
    findings: list[Finding] = []
    notes: list[str] = []
    for cluster, those in found.items():
        if mesh.has_samples and not those.answered and not those.silent:
            findings.append(Finding(cluster, "a ready proxy", "none", about=Subject((cluster,))))
        for proxy, metadata in those.answered:
            findings += _judged(mesh.scenario, proxy, metadata)
            if metadata.mesh_id != mesh.scenario.mesh_id:
                finding = _of_another_mesh(mesh.scenario, proxy, metadata)
                if mesh.view.lab.external:
                    notes.append(_NO_MATTER.format(cluster, metadata.mesh_id or "none"))
                else:
                    findings.append(finding)
    clients = [mesh.view.kube[name] for name in mesh.view.data_planes]
    unlabelled = [each for kube in clients for each in _labelled(mesh, kube)]
    if unlabelled:
        known = _known_networks(mesh, probes)
        for finding in unlabelled:
            network = mesh.scenario.cluster(finding.cluster).network
            if known.get(finding.cluster) == {network}:
                notes.append(
                    f"{finding.cluster}: istiod takes its pods to be on {network} without the "
                    f"label {NETWORK_LABEL} of the system namespace"
                )
            else:
                findings.append(finding)
    figures = {f"{cluster}.proxies": len(those.answered) for cluster, those in found.items()}
    silent = [error for those in found.values() for _, error in those.silent]
    if silent and not findings:
        return Outcome.inconclusive(silent[0], figures)
    return Outcome.judged(findings, figures, notes)


def _judged(scenario: Scenario, proxy: Proxy, metadata: NodeMetadata) -> Iterator[Finding]:
    network = scenario.cluster(proxy.cluster).network
    unnamed = "" if scenario.is_multi_network else network
    for what, wanted, seen in (
        ("cluster id", proxy.cluster, metadata.cluster_id),
        ("network", network, metadata.network or unnamed),
    ):
        if seen != wanted:
            yield _differing(proxy, metadata, what, wanted, seen)


def _of_another_mesh(scenario: Scenario, proxy: Proxy, metadata: NodeMetadata) -> Finding:
    return _differing(proxy, metadata, "mesh id", scenario.mesh_id, metadata.mesh_id)


def _differing(proxy: Proxy, metadata: NodeMetadata, what: str, wanted: str, seen: str) -> Finding:
    expected = f"the proxy of {proxy} to report to istiod the {what} {wanted}"
    about = Subject((proxy.cluster,))
    return Finding(proxy.cluster, expected, seen or "none", metadata.source, about)


def _labelled(mesh: ObservedMesh, kube: KubeClient) -> Iterator[Finding]:
    """The network of pods without a proxy. It may be left out where there is only one.

    Source: Istio, Install Multi-Primary on different networks (Set the default network).
    """
    scenario = mesh.scenario
    name = kube.names.system_namespace
    namespace = kube.get(NAMESPACES, "", name)
    seen = "" if namespace is None else namespace.meta.labels.get(NETWORK_LABEL, "")
    wanted = scenario.cluster(kube.name).network
    if seen != wanted and (seen or scenario.is_multi_network):
        expected = f"{name} to have the label {NETWORK_LABEL}={wanted}"
        source = kube.source("namespaces", "", f"{name} --show-labels")
        about = Subject((kube.name,))
        yield Finding(kube.name, expected, seen or "no such label", source, about)


def _known_networks(mesh: ObservedMesh, probes: Probes) -> Mapping[str, set[str]]:
    """The networks that istiods take clusters to be on, whatever says so; empty where none that is
    asked tells.
    """
    primaries = [each.name for each in mesh.scenario.primaries]
    try:
        held = [
            each for those in mesh.view.each(probes.networks, primaries).values() for each in those
        ]
    except ProbeError:
        return {}
    return {
        cluster.name: {network for each in held if (network := each.of(cluster.name)) is not None}
        for cluster in mesh.scenario.data_planes
    }


REQUIREMENT = Requirement(
    id="CONTROL-3",
    level="core",
    title=(
        "Every proxy reports the scenario's cluster id, network and mesh id to istiod; with "
        "several networks, istiod knows the network of each cluster's pods."
    ),
    judge=judge,
    section="Deployment models: Networks",
    url="https://istio.io/latest/docs/ops/deployment/deployment-models/#network-models",
    needs="sample",
    rests_on=("WORKLOAD-1",),
    without_samples=True,
)

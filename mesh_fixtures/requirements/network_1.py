"""NETWORK-1: pods reach each other directly on one network, and not from another."""

from __future__ import annotations

from typing import Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.network import Connection, connection
from mesh_fixtures.probe.workloads import HELLOWORLD, SLEEP
from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.requirement import Outcome, Requirement
from mesh_fixtures.scenario import STATUS_PORT
from mesh_fixtures.verdict.findings import Finding

REACHABLE_SECONDS: Final = 5.0
UNREACHABLE_SECONDS: Final = 2.5
"""Long enough for a lost packet to be sent again."""


def judge(mesh: ObservedMesh) -> Outcome:
    view, near = mesh.view, mesh.scenario.same_network
    names = list(view.kube)
    servers = view.each(lambda kube: kube.pod_of(kube.sample_namespace, HELLOWORLD))
    clients = view.each(lambda kube: kube.pod_of(kube.sample_namespace, SLEEP))

    def tried(pair: tuple[str, str]) -> Connection:
        client, server = pair
        return _tried(view.kube[client], clients[client], servers[server], near(*pair))

    found = parallel_map(tried, [(client, server) for client in names for server in names])
    figures = {
        f"{client}.to.{server}": seen.reach.value for (client, server), seen in found.items()
    }
    findings = []
    for (client, server), seen in found.items():
        if client == server and not seen.is_open:
            trouble = ProbeError(
                wanted=f"{servers[server].meta} to be reachable within its own cluster",
                seen=str(seen),
                where=server,
            )
            return Outcome.inconclusive(trouble, figures)
        if near(client, server) != seen.is_open:
            can = "reachable" if near(client, server) else "out of reach"
            expected = f"pod {servers[server].meta} of {server} to be {can} for pods"
            findings.append(Finding(client, expected, f"{seen} {seen.message}", seen.source))
    return Outcome.judged(findings, figures)


def _tried(kube: KubeClient, client: Pod, server: Pod, near: bool) -> Connection:
    seconds = patient(REACHABLE_SECONDS if near else UNREACHABLE_SECONDS)
    return connection(kube, client, server.ip, STATUS_PORT, seconds=seconds)


REQUIREMENT = Requirement(
    id="NETWORK-1",
    level="extended",
    title="Pods reach each other directly on one network, and not from another.",
    judge=judge,
    section="Deployment models: Network models",
    url="https://istio.io/latest/docs/ops/deployment/deployment-models/#network-models",
    needs="sample",
    rests_on=("WORKLOAD-1",),
)

"""Network: pods reach each other directly on one network, and not from another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient, Pod
from mesh_fixtures.probe.network import Connection, connection
from mesh_fixtures.probe.view import MeshView, at_once
from mesh_fixtures.probe.workloads import HELLOWORLD, SLEEP
from mesh_fixtures.scenario import STATUS_PORT
from mesh_fixtures.session.labs import Sample
from mesh_fixtures.verdict.findings import Finding, require_none
from mesh_fixtures.workloads import NAMESPACE

REACHABLE_SECONDS: Final = 5.0
UNREACHABLE_SECONDS: Final = 2.5
"""Long enough for a lost packet to be sent again."""


@pytest.mark.requirement("NETWORK-1")
def test_pods_reach_each_other_directly_on_one_network_only(
    view: MeshView, sample: Sample, record_property: Callable[[str, object], None]
) -> None:
    names = list(view.kube)
    servers = view.each(lambda kube: kube.pod_of(NAMESPACE, HELLOWORLD))
    clients = view.each(lambda kube: kube.pod_of(NAMESPACE, SLEEP))

    def tried(pair: tuple[str, str]) -> Connection:
        client, server = pair
        return _tried(view.kube[client], clients[client], servers[server], _near(view, *pair))

    found = at_once([(client, server) for client in names for server in names], tried)
    findings = []
    for (client, server), seen in found.items():
        record_property(f"{client}.to.{server}", seen.reach.value)
        if client == server and not seen.is_open:
            raise ProbeError(
                wanted=f"{servers[server].meta} to be reachable within its own cluster",
                seen=str(seen),
                where=server,
            )
        if _near(view, client, server) != seen.is_open:
            can = "reachable" if _near(view, client, server) else "out of reach"
            expected = f"pod {servers[server].meta} of {server} to be {can} for pods"
            findings.append(Finding(client, expected, f"{seen} {seen.message}", seen.source))
    require_none(findings)


def _near(view: MeshView, client: str, server: str) -> bool:
    return view.scenario.same_network(client, server)


def _tried(kube: KubeClient, client: Pod, server: Pod, near: bool) -> Connection:
    seconds = REACHABLE_SECONDS if near else UNREACHABLE_SECONDS
    return connection(kube, client, server.ip, STATUS_PORT, seconds=seconds)

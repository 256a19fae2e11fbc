from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fake_kube import FakeKube, Said, pod

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.install.names import NETWORK_LABEL
from mesh_fixtures.kube import Container, KubeClient, Meta, Pod, Resource, Service
from mesh_fixtures.kube.resources import SERVICES
from mesh_fixtures.probe.proxies import ask_each, node_metadata, proxies

PROXY = Container("istio-proxy", running=True)
GATEWAY = {"app": "gateway"}


def proxied(name: str, namespace: str = "sample", **changes: Any) -> Pod:
    return replace(pod(name, namespace), containers=(PROXY,), **changes)


@dataclass
class Pods(FakeKube):
    """With a gateway's Service in the namespace `gateways`."""

    def list(self, resource: Resource[Any], namespace: str = "", selector: str = "") -> Any:
        if resource is SERVICES:
            meta = Meta("eastwest", "gateways", {NETWORK_LABEL: "network1"})
            return (Service(meta, "LoadBalancer", GATEWAY, (), ("10.0.0.1",)),)
        return tuple(each for each in self.found if each.meta.namespace == namespace)

    def source(self, kind: str, namespace: str) -> str:
        return f"{kind} {namespace}"


def metadata(**values: str) -> str:
    bootstrap = {"node": {"metadata": values}}
    dump = {"configs": [{"@type": "BootstrapConfigDump", "bootstrap": bootstrap}]}
    return "2026-11-23T22:10:48Z\twarn\tno OS certificates\n" + json.dumps(dump)


def test_sidecars_and_gateways_that_run() -> None:
    kube = Pods(
        lambda argv: "",
        [
            proxied("sleep-1"),
            replace(proxied("sleep-2"), containers=(replace(PROXY, running=False),)),
            proxied("sleep-3", terminating=True),
            proxied("sleep-4", phase="Pending", ready=False),
            proxied("gateway-1", "gateways", meta=Meta("gateway-1", "gateways", GATEWAY)),
            proxied("other-1", "gateways"),
            proxied("other-1", "somebody-elses"),
            proxied("ztunnel-1", "istio-system"),
            pod("istiod-1", "istio-system"),
        ],
    )
    found = proxies(kube.as_client())
    assert [proxy.id for proxy in found] == [
        "gateway-1.gateways",
        "sleep-1.sample",
        "sleep-4.sample",
    ]
    assert str(found[1]) == "sample/sleep-1"
    assert found[1].cluster == "cluster1"


def test_the_ready_ones_are_asked() -> None:
    kube = Pods(lambda argv: "", [proxied("sleep-1"), proxied("sleep-2", ready=False)])
    ((proxy, answer),) = ask_each(kube.as_client(), lambda kube, pod: pod.name).answered
    assert (proxy.id, answer) == ("sleep-1.sample", "sleep-1")


def test_one_that_does_not_answer_does_not_hide_the_others() -> None:
    def ask(kube: KubeClient, pod: Pod) -> str:
        if pod.name == "sleep-1":
            raise ProbeError(wanted="an answer", seen="none", where="cluster1")
        return pod.name

    kube = Pods(lambda argv: "", [proxied("sleep-1"), proxied("sleep-2")])
    answers = ask_each(kube.as_client(), ask)
    assert [answer for _, answer in answers.answered] == ["sleep-2"]
    assert [proxy.id for proxy, _ in answers.silent] == ["sleep-1.sample"]


def test_what_a_proxy_says_that_it_belongs_to() -> None:
    response = metadata(CLUSTER_ID="cluster2", NETWORK="network2", MESH_ID="mesh1", NAME="sleep-1")
    seen = node_metadata(FakeKube(lambda argv: response).as_client(), pod("sleep-1"))
    assert (seen.cluster_id, seen.network, seen.mesh_id) == ("cluster2", "network2", "mesh1")
    assert "config_dump?mask=bootstrap.node.metadata" in seen.source.asked


def test_what_it_does_not_say_is_empty() -> None:
    seen = node_metadata(FakeKube(lambda argv: metadata()).as_client(), pod("sleep-1"))
    assert (seen.cluster_id, seen.network, seen.mesh_id) == ("", "", "")


@pytest.mark.parametrize("response", ['{"configs": []}', '{"configs": [{"bootstrap": {}}]}', "[1]"])
def test_another_answer_is_a_probe_error(response: str) -> None:
    def answer(argv: Sequence[str]) -> Said:
        return response

    with pytest.raises(ProbeError, match="sample/sleep-1"):
        node_metadata(FakeKube(answer).as_client(), pod("sleep-1"))

"""A gateway at its nodes' addresses, and at ports of theirs, as where there is no load balancer.

Source: Istio, Resource Annotations (traffic.istio.io/nodeSelector); Kubernetes, Service (type
NodePort); Mutating Admission Policy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from mesh_fixtures.install import names
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import NODES
from mesh_fixtures.probe.gateways import advertised
from mesh_fixtures.scenario import SERVICES_PORT
from tests.faults import underlay
from tests.faults.target import Manifest, Target, reference
from tests.faults.topologies import TWO_NETWORKS
from tests.variants.gateways import replace_service
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_API: Final = "admissionregistration.k8s.io/v1"
_NAME: Final = "external-addresses"
_EXTERNAL: Final = "ExternalIP"
_INTERNAL: Final = "InternalIP"
_OF_KIND: Final = "object.status.addresses.filter(each, each.type == '{}')"

_POLICY: Final[Manifest] = {
    "apiVersion": _API,
    "kind": "MutatingAdmissionPolicy",
    "metadata": {"name": _NAME},
    "spec": {
        "reinvocationPolicy": "Never",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["UPDATE"],
                    "resources": ["nodes/status"],
                }
            ]
        },
        "matchConditions": [
            {"name": "has-none", "expression": f"size({_OF_KIND.format(_EXTERNAL)}) == 0"}
        ],
        "mutations": [
            {
                "patchType": "JSONPatch",
                "jsonPatch": {
                    "expression": "[JSONPatch{op: 'add', path: '/status/addresses/-', value: "
                    f"Object.status.addresses{{type: '{_EXTERNAL}', address: "
                    f"{_OF_KIND.format(_INTERNAL)}[0].address}}}}]"
                },
            }
        ],
    },
}
"""Nodes have an external address, which is their internal one, whatever their kubelets report: a
cloud's controller would set it."""

_BINDING: Final[Manifest] = {
    "apiVersion": _API,
    "kind": "MutatingAdmissionPolicyBinding",
    "metadata": {"name": _NAME},
    "spec": {"policyName": _NAME},
}


@contextmanager
def at_node_ports(target: Target) -> Iterator[None]:
    """The last cluster's gateway is of type NodePort, and istiods advertise its nodes' external
    addresses with the port that each of them has for it.
    """
    cluster = target.scenario.clusters[-1].name
    service = target.read(cluster, _SYSTEM, "service", names.GATEWAY)
    nodes = [str(each.address) for each in target.lab.clusters[cluster].nodes]
    try:
        with _external_addresses(target, cluster), underlay.passed_on(target, nodes):
            replace_service(target, cluster, _with_node_ports(service))
            for each in target.scenario.primaries:
                target.until(
                    f"istiod to advertise node ports of {cluster}",
                    each.name,
                    lambda kube: {one.port for one in advertised(kube) if one.cluster == cluster},
                    lambda ports: bool(ports) and SERVICES_PORT not in ports,
                )
            yield
    finally:
        replace_service(target, cluster, service)


def _with_node_ports(service: Manifest) -> dict[str, Any]:
    meta, spec = service["metadata"], service["spec"]
    balanced = ("loadBalancerIP", "loadBalancerClass", "allocateLoadBalancerNodePorts")
    annotations = {**(meta.get("annotations") or {}), "traffic.istio.io/nodeSelector": "{}"}
    return {
        **service,
        "metadata": {**meta, "annotations": annotations},
        "spec": {
            **{key: value for key, value in spec.items() if key not in balanced},
            "type": "NodePort",
        },
    }


@contextmanager
def _external_addresses(target: Target, cluster: str) -> Iterator[None]:
    """Nodes of a cluster have external addresses, until their kubelets report again."""
    policies = (_POLICY, _BINDING)
    try:
        target.apply(cluster, "default", *policies)
        for node in target.kube[cluster].items(NODES):
            _report(target, cluster, node)
        yield
    finally:
        target.delete(cluster, "default", *map(reference, policies))
        target.until(
            f"nodes of {cluster} without external addresses",
            cluster,
            lambda kube: [[*_addresses(each)] for each in kube.items(NODES)],
            lambda seen: not any(_EXTERNAL in kinds for kinds in seen),
        )


def _report(target: Target, cluster: str, node: Json) -> None:
    """What a kubelet does some minutes after its last report, or when something has changed."""
    address = {"type": _EXTERNAL, "address": _addresses(node)[_INTERNAL]}
    change = [{"op": "add", "path": "/status/addresses/-", "value": address}]
    target.kubectl(
        *(cluster, "patch", "node", node["metadata"]["name"], "--subresource=status"),
        *("--type=json", "-p", json.dumps(change)),
    )


def _addresses(node: Json) -> dict[str, str]:
    """Addresses of a node by their type."""
    return {each["type"]: each["address"] for each in node["status"]["addresses"]}


VARIANTS: Final = (
    Variant(
        id="gateway-at-node-ports",
        mesh="cluster2 has no load balancers: its gateway is of type NodePort, and advertised at "
        "its nodes' external addresses.",
        topology=TWO_NETWORKS,
        make=at_node_ports,
        provider=underlay.PROVIDER,
    ),
)

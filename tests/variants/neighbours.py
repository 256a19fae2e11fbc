"""Workloads of others, in a mesh that works: some of them do not, which says nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from mesh_fixtures.artifacts.images import PAUSE
from mesh_fixtures.install import names
from mesh_fixtures.kube.resources import PODS
from tests.faults.policies import policy
from tests.faults.target import Manifest, Target
from tests.faults.topologies import TWO_NETWORKS
from tests.variants.gateways import further_namespace
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_SHOP: Final = "shop"
_ABSENT: Final = "localhost/nobody-has-this:1"
_DASHBOARD: Final = "dashboard"


@contextmanager
def in_trouble(target: Target) -> Iterator[None]:
    """A pod that crashes, one whose image is not there, one that fits on no node, a Service that
    gets no address, a host that nobody knows, and a crashing dashboard beside istiod.
    """
    with ExitStack() as stack:
        for each in target.scenario.clusters:
            cluster = each.name
            stack.enter_context(further_namespace(target, cluster, _SHOP))
            target.kubectl(cluster, "label", "namespace", _SHOP, "istio-injection=enabled")
            pull_policy = target.lab.images.pull_policy
            target.apply(cluster, _SHOP, *_shop(pull_policy))
            stack.callback(target.delete, cluster, _SYSTEM, f"pod/{_DASHBOARD}")
            target.apply(cluster, _SYSTEM, _crashing(_DASHBOARD, pull_policy, injected=False))
        for each in target.scenario.clusters:
            target.until(
                "a pod that crashes",
                each.name,
                lambda kube: kube.list(PODS, _SHOP),
                lambda pods: any(
                    container.restarts
                    for pod in pods
                    if pod.name == "crashing" and (container := pod.container("crashing"))
                ),
            )
        yield


def _shop(pull_policy: str) -> tuple[Manifest, ...]:
    waiting = _pod("waiting", {"image": PAUSE, "imagePullPolicy": pull_policy})
    waiting["spec"]["nodeSelector"] = {"disk": "of-another-century"}
    return (
        _crashing("crashing", pull_policy, injected=True),
        _pod("absent", {"image": _ABSENT, "imagePullPolicy": "IfNotPresent"}),
        waiting,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "shop"},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": "example.test/by-nobody",
                "selector": {"app": "crashing"},
                "ports": [{"name": "http", "port": 80}],
            },
        },
        policy(
            "networking",
            "ServiceEntry",
            "elsewhere",
            hosts=["elsewhere.invalid"],
            ports=[{"number": 443, "name": "tls", "protocol": "TLS"}],
            resolution="DNS",
        ),
    )


def _crashing(name: str, pull_policy: str, *, injected: bool) -> Manifest:
    container = {"image": PAUSE, "imagePullPolicy": pull_policy, "command": ["/absent"]}
    made = _pod(name, container)
    if not injected:
        made["metadata"]["labels"]["sidecar.istio.io/inject"] = "false"
    return made


def _pod(name: str, container: Manifest) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "containers": [{"name": name, **container}],
            "terminationGracePeriodSeconds": 0,
        },
    }


VARIANTS: Final = (
    Variant(
        id="neighbours-in-trouble",
        mesh="Workloads of others crash, wait or lack their image, and one of them is beside "
        "istiod.",
        topology=TWO_NETWORKS,
        make=in_trouble,
    ),
)

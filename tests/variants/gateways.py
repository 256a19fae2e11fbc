"""Gateways between networks that somebody installed in a way of his own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mesh_fixtures.install import names
from mesh_fixtures.kube.resources import PODS
from mesh_fixtures.probe.envoy import listeners
from tests.faults.table import TWO_NETWORKS
from tests.faults.target import Manifest, Target, reference
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_USERS_PORT: Final = 8080
_GATEWAY: Final = {"istio": "eastwestgateway"}


@contextmanager
def further_listener(target: Target) -> Iterator[None]:
    """The gateways of all clusters are for users, too: they listen at another port for HTTP."""
    users = _for_users()
    clusters = [each.name for each in target.scenario.clusters]
    try:
        for cluster in clusters:
            target.apply(cluster, _SYSTEM, users)
        for cluster in clusters:
            _await_listening(target, cluster, present=True)
        yield
    finally:
        for cluster in clusters:
            target.delete(cluster, _SYSTEM, reference(users))
        for cluster in clusters:
            _await_listening(target, cluster, present=False)


def _for_users() -> Manifest:
    port = {"name": "http", "number": _USERS_PORT, "protocol": "HTTP"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "for-users"},
        "spec": {
            "selector": _GATEWAY,
            "servers": [{"port": port, "hosts": ["shop.example"]}],
        },
    }


def _await_listening(target: Target, cluster: str, *, present: bool) -> None:
    target.until(
        f"the gateway to {'listen' if present else 'stop listening'} at {_USERS_PORT}",
        cluster,
        lambda kube: [
            _USERS_PORT in listeners(kube, pod).ports
            for pod in kube.list(PODS, _SYSTEM)
            if _GATEWAY.items() <= pod.meta.labels.items() and pod.serving
        ],
        lambda found: bool(found) and all(each == present for each in found),
    )


VARIANTS: Final = (
    Variant(
        id="gateway-for-users-too",
        mesh="The gateways between the networks listen for users' HTTP at port 8080 as well.",
        topology=TWO_NETWORKS,
        make=further_listener,
    ),
)

"""Faults of a remote: who is in charge of it, and what its proxies are told at their start."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from mesh_fixtures.install import ids, names
from mesh_fixtures.probe.istiod import remote_clusters
from mesh_fixtures.scenario import RemoteSecretSpec, Scenario
from tests.faults import remote_secrets
from tests.faults.fault import Injection
from tests.faults.gateways import unassigned
from tests.faults.target import Manifest, Target
from tests.faults.trust import ROOT_MAP

_CLOCK_SECONDS: Final = 1.1
"""Objects tell their times in whole seconds: what must be seen to be later, is by one at least."""

NOWHERE: Final = "192.0.2.1"
"""An address that belongs to nobody (RFC 5737)."""

NO_NAME: Final = "istiod.invalid"
"""A host name that nobody has (RFC 6761)."""

_SLICES: Final = ("endpointslices", "-l", "kubernetes.io/service-name=istiod")
_WEBHOOKS: Final = ("mutatingwebhookconfigurations", "-l", "app=sidecar-injector")


def annotation(*, late: bool = False, other: str = "") -> Injection:
    """A remote as it is when istiod read its secret before anybody said who is in charge of it.

    Args:
        late: whether it was said afterwards.
        other: who was said to be in charge instead; empty for nobody.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        remote = target.scenario.remotes[-1].name
        try:
            _attach(target, remote, in_charge=other)
            if late:
                time.sleep(_CLOCK_SECONDS)
                target.run_steps(target.installation, ids.control_plane_annotation(remote))
            target.replace_workloads(remote)
            yield
        finally:
            _attach(target, remote, in_charge=_in_charge(target.scenario, remote))
            target.run_steps(target.installation, ids.attached(remote))
            target.restart_workloads(remote)

    return inject


def injection_path(*, of_network: bool = False, of_cluster: bool = False) -> Injection:
    """A remote's webhook asks istiod for proxies of the primary instead of its own; of the cluster
    that an external istiod has its configuration from.

    Args:
        of_network: whether the path names that one's network.
        of_cluster: whether it names that one.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        remote = target.scenario.remotes[-1]
        other = target.scenario.cluster(_in_charge(target.scenario, remote.name))
        cluster = other if of_cluster else remote
        network = other.network if of_network else remote.network
        try:
            _set_path(target, remote.name, f"/inject/cluster/{cluster.name}/net/{network}")
            if of_cluster:  # istiod gives its proxies no certificate, so that they are never ready
                target.replace_workloads(remote.name)
            else:
                target.restart_workloads(remote.name)
            yield
        finally:
            right = f"/inject/cluster/{remote.name}/net/{remote.network}"
            _set_path(target, remote.name, right)
            target.restart_workloads(remote.name)

    return inject


def istiod_at(address: str) -> Injection:
    """Proxies and webhook of a remote look for istiod at another address, or by a host name."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        remote = target.scenario.remotes[-1].name
        system = target.system_namespace
        service = target.read(remote, system, "service", "istiod")
        (name,) = target.system(remote, "get", *_SLICES, "-o", "name").split()
        _, _, slice_name = name.partition("/")
        endpoints = target.read(remote, system, "endpointslice", slice_name)
        try:
            if is_host_name(address):
                target.delete(remote, system, "service/istiod", f"endpointslice/{slice_name}")
                target.apply(remote, system, named_outside(service, address))
            else:
                moved = {**endpoints, "endpoints": [{"addresses": [address]}]}
                target.apply(remote, system, moved)
            target.replace_workloads(remote)
            yield
        finally:
            target.delete(remote, system, "service/istiod")
            target.apply(remote, system, unassigned(service), endpoints)
            target.restart_workloads(remote)

    return inject


def _in_charge(scenario: Scenario, remote: str) -> str:
    """What its istiod calls the cluster that it has its configuration from."""
    return scenario.config_cluster_of(scenario.control_plane_of(remote))


def is_host_name(address: str) -> bool:
    return not address.replace(".", "").isdigit()


def named_outside(service: Manifest, host: str) -> Manifest:
    """The Service, standing for a host name, as istioctl makes it of one."""
    spec = {"type": "ExternalName", "externalName": host, "ports": service["spec"]["ports"]}
    return {**service, "spec": spec}


def _attach(target: Target, remote: str, *, in_charge: str) -> None:
    """Let the primary's istiod read a remote's secret as if for the first time."""
    primary, system = target.scenario.control_plane_of(remote), target.system_namespace
    which = RemoteSecretSpec(of=remote, installed_in=primary)
    secret = remote_secrets.withdraw(target, which)
    setting = f"{names.CONTROL_PLANE_ANNOTATION}={in_charge}"
    target.kubectl(
        *(remote, "annotate", "namespace", system, "--overwrite"),
        setting if in_charge else f"{names.CONTROL_PLANE_ANNOTATION}-",
    )
    for namespace in (system, target.namespace):
        target.delete(remote, namespace, f"configmap/{ROOT_MAP}")
    _change_webhooks(target, remote, lambda client: client.pop("caBundle", None))
    remote_secrets.give(target, which, secret)
    target.until(
        f"istiod to read {remote}",
        primary,
        remote_clusters,
        lambda known: any(one.id == remote and one.synced for e in known for one in e.clusters),
    )


def _set_path(target: Target, remote: str, path: str) -> None:
    def change(client: dict[str, Any]) -> None:
        if "service" in client:
            client["service"]["path"] = path
        else:
            client["url"] = urlunsplit(urlsplit(client["url"])._replace(path=path))

    _change_webhooks(target, remote, change)


def _change_webhooks(
    target: Target, remote: str, change: Callable[[dict[str, Any]], object]
) -> None:
    """Change how the API server calls the injecting webhooks, and wait until it does."""
    found = json.loads(target.kubectl(remote, "get", *_WEBHOOKS, "-o", "json"))
    for configuration in found["items"]:
        for webhook in configuration["webhooks"]:
            change(webhook["clientConfig"])
    target.kubectl(remote, "replace", "-f", "-", stdin=json.dumps(found))

"""Faults of a remote: who is in charge of it, and what its proxies are told at their start."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from mesh_fixtures.install import ids, names
from mesh_fixtures.kube.resources import DEPLOYMENTS
from mesh_fixtures.probe.istiod import remote_clusters
from mesh_fixtures.probe.workloads import HELLOWORLD, SLEEP
from mesh_fixtures.scenario import RemoteSecret
from tests.faults import remote_secrets
from tests.faults.fault import Injection
from tests.faults.target import Target
from tests.faults.trust import ROOT_MAP

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_CLOCK_SECONDS: Final = 1.1
"""Objects tell their times in whole seconds: what must be seen to be later, is by one at least."""

_WEBHOOKS: Final = ("mutatingwebhookconfigurations", "-l", "app=sidecar-injector")


def annotation(*, late: bool) -> Injection:
    """A remote as it is when istiod read its secret before anybody said who is in charge of it.

    Args:
        late: whether it was said afterwards.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        remote = target.scenario.remotes[0].name
        try:
            _attach(target, remote, annotated=False)
            if late:
                time.sleep(_CLOCK_SECONDS)
                target.run_steps(target.installation, ids.control_plane_annotation(remote))
            _replace_pods(target, remote)
            yield
        finally:
            _attach(target, remote, annotated=True)
            target.run_steps(target.installation, ids.attached(remote))
            target.restart(remote, *_workloads(target, remote))

    return inject


def injection_path(*, of_network: bool = False, of_cluster: bool = False) -> Injection:
    """A remote's webhook asks istiod for the primary's proxies instead of its own.

    Args:
        of_network: whether the path names the primary's network.
        of_cluster: whether it names the primary.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        remote = target.scenario.remotes[0]
        primary = target.scenario.cluster(target.scenario.control_plane_of(remote.name))
        cluster = primary if of_cluster else remote
        network = primary.network if of_network else remote.network
        try:
            _set_path(target, remote.name, f"/inject/cluster/{cluster.name}/net/{network}")
            if of_cluster:  # istiod gives its proxies no certificate, so that they are never ready
                _replace_pods(target, remote.name)
            else:
                target.restart(remote.name, *_workloads(target, remote.name))
            yield
        finally:
            right = f"/inject/cluster/{remote.name}/net/{remote.network}"
            _set_path(target, remote.name, right)
            target.restart(remote.name, *_workloads(target, remote.name))

    return inject


def _attach(target: Target, remote: str, *, annotated: bool) -> None:
    """Let the primary's istiod read a remote's secret as if for the first time."""
    primary = target.scenario.control_plane_of(remote)
    which = RemoteSecret(of=remote, installed_in=primary)
    secret = remote_secrets.withdraw(target, which)
    setting = f"{names.CONTROL_PLANE_ANNOTATION}={primary}"
    target.kubectl(
        *(remote, "annotate", "namespace", _SYSTEM, "--overwrite"),
        setting if annotated else f"{names.CONTROL_PLANE_ANNOTATION}-",
    )
    for namespace in (_SYSTEM, target.namespace):
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


def _replace_pods(target: Target, remote: str) -> None:
    """Remove the workloads' pods; whether others come in their place is the webhook's choice."""
    for selector in (HELLOWORLD, SLEEP):
        target.sample(remote, "delete", "pods", "-l", selector, "--wait=false")


def _workloads(target: Target, remote: str) -> list[tuple[str, str]]:
    deployments = target.kube[remote].list(DEPLOYMENTS, target.namespace)
    return [(target.namespace, each.meta.name) for each in deployments]

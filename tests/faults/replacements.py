"""Faults that nobody sees until a part of the mesh is gone for a while, or is to be replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import yaml

from mesh_fixtures.install import names
from mesh_fixtures.patience import whole
from tests.faults.target import Target

TTL_SECONDS: Final = 8.0
"""Less than istiod is down for in RESILIENCE-3."""

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_QUOTA: Final = "quota/fault"
_READER: Final = f"clusterrolebinding/istio-reader-clusterrole-{_SYSTEM}"
_PROXY_CONFIG: Final = "proxy.istio.io/config"


@contextmanager
def short_lived_certificates(target: Target) -> Iterator[None]:
    """The first cluster's Sleep needs a new certificate from istiod every few seconds."""
    cluster = target.scenario.clusters[0].name
    metadata = {"SECRET_TTL": f"{whole(TTL_SECONDS)}s", "SECRET_GRACE_PERIOD_RATIO": "0.75"}
    try:
        _configure(target, cluster, yaml.safe_dump({"proxyMetadata": metadata}))
        yield
    finally:
        _configure(target, cluster, None)


@contextmanager
def no_more_pods(target: Target) -> Iterator[None]:
    """A quota in the last cluster's istio-system lets no pod be made; those that run, run on."""
    cluster = target.scenario.clusters[-1].name
    try:
        target.system(cluster, "create", "quota", "fault", "--hard=pods=0")
        yield
    finally:
        target.delete(cluster, _SYSTEM, _QUOTA)
        # a controller that was refused for long asks again only after as long
        target.restart(cluster, (_SYSTEM, names.GATEWAY))


@contextmanager
def reader_unbound(target: Target) -> Iterator[None]:
    """The account of the first remote secret may no longer read its cluster. What istiod watches by
    then, it goes on to watch.
    """
    which = target.scenario.remote_secrets[0]
    name = _READER.partition("/")[2]
    kept = target.read(which.of, "", "clusterrolebinding", name)
    try:
        target.kubectl(which.of, "delete", _READER)
        yield
    finally:
        target.apply(which.of, "", kept)
        target.restart(which.installed_in, (_SYSTEM, "istiod"))


def _configure(target: Target, cluster: str, configuration: str | None) -> None:
    """Have Sleep's proxy configured otherwise; None for as it was."""
    template: dict[str, Any] = {"metadata": {"annotations": {_PROXY_CONFIG: configuration}}}
    change = json.dumps({"spec": {"template": template}})
    target.sample(cluster, "patch", "deployment/sleep", "--type=merge", "-p", change)
    target.await_rollout(cluster, target.namespace, "sleep")

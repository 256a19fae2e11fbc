"""Faults of trust: what an istiod signs with."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from mesh_fixtures.install import names
from mesh_fixtures.install.certificates import CACERTS, CLUSTER_FILES, make_certificates
from mesh_fixtures.kube.resources import DEPLOYMENTS
from tests.faults.target import Manifest, Target

SELF_SIGNED: Final = "istio-ca-secret"
"""Where istiod keeps the authority that it makes when it is given none (Istio: pilot-discovery)."""

ROOT_MAP: Final = "istio-ca-root-cert"
"""ConfigMap by which istiod tells a namespace's pods the root (Istio: Plug in CA Certificates)."""


@contextmanager
def another_root(target: Target) -> Iterator[None]:
    """The last primary's intermediate is of a root of its own."""
    cluster = target.scenario.primaries[-1].name
    files = make_certificates(target.scenario)
    foreign = {name: files[f"{cluster}/{name}"] for name in CLUSTER_FILES}
    given = target.read(cluster, names.SYSTEM_NAMESPACE, "secret", CACERTS)
    try:
        _sign_with(target, cluster, cacerts(foreign))
        yield
    finally:
        _sign_with(target, cluster, given)


@contextmanager
def no_cacerts(target: Target) -> Iterator[None]:
    """The last primary's istiod was given nothing to sign with, and makes a root of its own."""
    cluster = target.scenario.primaries[-1].name
    given = target.read(cluster, names.SYSTEM_NAMESPACE, "secret", CACERTS)
    try:
        _sign_with(target, cluster, None)
        yield
    finally:
        target.delete(cluster, names.SYSTEM_NAMESPACE, f"secret/{SELF_SIGNED}")
        _sign_with(target, cluster, given)


def cacerts(files: Mapping[str, bytes]) -> Manifest:
    """The secret that istiod signs with.

    Args:
        files: content by key.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": CACERTS},
        "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }


def _sign_with(target: Target, cluster: str, authority: Manifest | None) -> None:
    """Give a cluster's istiod an authority, and every proxy in the cluster a certificate of it."""
    system = names.SYSTEM_NAMESPACE
    before = _root(target, cluster)
    target.delete(cluster, system, f"secret/{CACERTS}")
    if authority is not None:
        target.apply(cluster, system, authority)
    target.restart(cluster, (system, "istiod"))
    target.until(
        "another root for the cluster's proxies",
        cluster,
        lambda kube: _root(target, kube.name),
        lambda root: root not in ("", before),
    )
    target.restart(cluster, *_with_proxies(target, cluster))


def _root(target: Target, cluster: str) -> str:
    """What pods of the workloads' namespace are told to trust; empty when nothing."""
    found = target.sample(cluster, "get", "configmap", ROOT_MAP, "--ignore-not-found", "-o", "json")
    return str(json.loads(found)["data"]["root-cert.pem"]) if found else ""


def _with_proxies(target: Target, cluster: str) -> list[tuple[str, str]]:
    """Namespace and name of every Deployment of the mesh but istiod."""
    return [
        (namespace, each.meta.name)
        for namespace in (names.SYSTEM_NAMESPACE, target.namespace)
        for each in target.kube[cluster].list(DEPLOYMENTS, namespace)
        if each.meta.name != "istiod"
    ]

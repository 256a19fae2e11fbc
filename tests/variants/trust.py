"""Meshes whose trust is not set up by a secret `cacerts` of one root in each cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, Final

import yaml

from mesh_fixtures.certificates import authority, rsa_key, subject
from mesh_fixtures.install import names
from mesh_fixtures.install.certificates import CACERTS
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.identities import DEFAULT_TRUST_DOMAIN
from tests.faults.target import Manifest, Target
from tests.faults.topologies import REMOTE, TWO_NETWORKS
from tests.faults.trust import (
    TRUST_DOMAIN,
    another_authority,
    await_roots,
    cacerts,
    content,
    naming,
    replace_cacerts,
    restart_proxies,
    self_signed,
    signing,
)
from tests.variants.variant import Variant

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_ROOTS: Final = "root-cert.pem"
_MESH: Final = "istio"
_KEPT_IN_CACERTS: Final = "USE_CACERTS_FOR_SELF_SIGNED_CA"
_LIFETIME: Final = timedelta(days=30)


@contextmanager
def external_authority(target: Target) -> Iterator[None]:
    """All istiods sign with one authority that nobody put into cacerts, as istio-csr does it."""
    root = authority(subject("External CA"), rsa_key(), _LIFETIME)
    clusters = _primaries(target)
    for cluster in clusters:
        target.apply(cluster, _SYSTEM, self_signed(root))
    with signing(target, dict.fromkeys(clusters)):
        yield


@contextmanager
def root_being_rotated(target: Target) -> Iterator[None]:
    """The first cluster trusts the next root already, below which nobody signs yet."""
    cluster = _primaries(target)[0]
    files = content(target, cluster)
    files[_ROOTS] += another_authority(target, cluster)[_ROOTS]
    with signing(target, {cluster: cacerts(files)}):
        yield


@contextmanager
def one_intermediate(target: Target) -> Iterator[None]:
    """All clusters sign with one intermediate, as with the certificates among Istio's samples."""
    first, *others = _primaries(target)
    shared = cacerts(content(target, first))
    with signing(target, dict.fromkeys(others, shared)):
        yield


@contextmanager
def several_roots(target: Target) -> Iterator[None]:
    """Each cluster signs below a root of its own, and its mesh configuration adds the other's."""
    first, *others = _primaries(target)
    authorities = {name: another_authority(target, name) for name in others}
    roots = {
        first: content(target, first)[_ROOTS],
        **{n: f[_ROOTS] for n, f in authorities.items()},
    }
    with ExitStack() as restoring:
        restoring.callback(parallel_map, lambda name: restart_proxies(target, name), [*roots])
        for name in roots:
            added = [{"pem": pem.decode()} for other, pem in roots.items() if other != name]
            restoring.enter_context(_trusting(target, name, added))
        with signing(target, {name: cacerts(files) for name, files in authorities.items()}):
            # proxies of the first are not started anew by that
            restart_proxies(target, first)
            yield


@contextmanager
def several_trust_domains(target: Target) -> Iterator[None]:
    """The last cluster names its workloads in a trust domain of its own, and each cluster knows the
    other's as another name of its own.
    """
    *others, last = _primaries(target)
    aliased = {name: {"trustDomainAliases": [TRUST_DOMAIN]} for name in others}
    renamed = {"trustDomain": TRUST_DOMAIN, "trustDomainAliases": [DEFAULT_TRUST_DOMAIN]}
    with naming(target, {**aliased, last: renamed}):
        yield


@contextmanager
def authority_in_cacerts(target: Target) -> Iterator[None]:
    """The istiod of a primary and its remote makes an authority for itself, and keeps it in
    `cacerts`; nobody brings one into the remote.
    """
    (primary,) = _primaries(target)
    clusters = [each.name for each in target.scenario.clusters]
    given = {name: target.read(name, _SYSTEM, "secret", CACERTS) for name in clusters}

    def start(secrets: Mapping[str, Manifest | None], variable: str) -> None:
        for name in clusters:
            replace_cacerts(target, name, secrets[name])
        _set(target, primary, variable)
        signing_with = target.read(primary, _SYSTEM, "secret", CACERTS)
        for name in clusters:
            await_roots(target, name, signing_with)
        parallel_map(lambda name: restart_proxies(target, name), clusters)

    try:
        start(dict.fromkeys(clusters), f"{_KEPT_IN_CACERTS}=true")
        yield
    finally:
        start(given, f"{_KEPT_IN_CACERTS}-")


@contextmanager
def _trusting(target: Target, cluster: str, roots: list[dict[str, str]]) -> Iterator[None]:
    """A cluster's mesh configuration adds roots, and its istiod and proxies are told to use it."""
    given = target.read(cluster, _SYSTEM, "configmap", _MESH)
    try:
        target.apply(cluster, _SYSTEM, _with_roots(given, roots))
        _set(target, cluster, "ISTIO_MULTIROOT_MESH=true")
        yield
    finally:
        target.apply(cluster, _SYSTEM, given)
        _set(target, cluster, "ISTIO_MULTIROOT_MESH-")


def _with_roots(given: Manifest, roots: list[dict[str, str]]) -> Manifest:
    mesh: dict[str, Any] = yaml.safe_load(given["data"]["mesh"])
    mesh["caCertificates"] = roots
    metadata = mesh.setdefault("defaultConfig", {}).setdefault("proxyMetadata", {})
    metadata["PROXY_CONFIG_XDS_AGENT"] = "true"
    return {**given, "data": {**given["data"], "mesh": json.dumps(mesh)}}


def _set(target: Target, cluster: str, variable: str) -> None:
    """Set a variable of istiod, or take it away, and wait until it runs like that."""
    target.system(cluster, "set", "env", "deployment/istiod", variable)
    target.await_rollout(cluster, _SYSTEM, "istiod")


def _primaries(target: Target) -> list[str]:
    return [cluster.name for cluster in target.scenario.primaries]


VARIANTS: Final = (
    Variant(
        id="external-authority",
        mesh="No cluster has a secret cacerts: one authority from elsewhere signs for both.",
        topology=TWO_NETWORKS,
        make=external_authority,
    ),
    Variant(
        id="authority-in-cacerts",
        mesh="Nobody gives istiod an authority; the one that it makes is in a secret cacerts whose "
        "chain is blank.",
        topology=REMOTE,
        make=authority_in_cacerts,
    ),
    Variant(
        id="root-being-rotated",
        mesh="cluster1 trusts two roots, cluster2 one of them, below which both sign.",
        topology=TWO_NETWORKS,
        make=root_being_rotated,
    ),
    Variant(
        id="several-roots",
        mesh="Each cluster signs below a root of its own, and adds the other's to those it trusts.",
        topology=TWO_NETWORKS,
        make=several_roots,
    ),
    Variant(
        id="several-trust-domains",
        mesh="cluster2 names workloads in a trust domain of its own; each knows the other's as an "
        "alias.",
        topology=TWO_NETWORKS,
        make=several_trust_domains,
    ),
    Variant(
        id="one-intermediate",
        mesh="Both clusters sign with the same intermediate.",
        topology=TWO_NETWORKS,
        make=one_intermediate,
        notes=("cluster1 and cluster2 sign with the same key",),
    ),
)

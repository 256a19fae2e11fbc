"""Faults of trust: what istiods sign with, what proxies hold, and who is told the root."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mesh_fixtures.certificates import Credential, authority, rsa_key, subject
from mesh_fixtures.install import names
from mesh_fixtures.install.certificates import CACERTS, CLUSTER_FILES, make_certificates
from mesh_fixtures.kube.resources import DEPLOYMENTS, PODS
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.probe.certificates import SELF_SIGNED
from mesh_fixtures.probe.workloads import injection_of
from tests.faults.control_planes import MESH, with_settings
from tests.faults.fault import Injection
from tests.faults.target import Manifest, Target

ROOT_MAP: Final = "istio-ca-root-cert"
"""ConfigMap by which istiod tells a namespace's pods the root (Istio: Plug in CA Certificates)."""

INJECTOR: Final = "istio-sidecar-injector"
"""ConfigMap with the values by which istiod configures the proxies that it injects."""

TRUST_DOMAIN: Final = "other.example"
_SYSTEM: Final = names.SYSTEM_NAMESPACE
_ISTIOD: Final = (_SYSTEM, "istiod")
_ROOTS: Final = "root-cert.pem"
_DAY: Final = timedelta(days=1)


@contextmanager
def another_root(target: Target) -> Iterator[None]:
    """The last primary's intermediate is of a root of its own."""
    cluster = target.scenario.primaries[-1].name
    with signing(target, {cluster: cacerts(another_authority(target, cluster))}):
        yield


@contextmanager
def no_cacerts(target: Target) -> Iterator[None]:
    """The last primary's istiod was given nothing to sign with, and makes a root of its own."""
    with signing(target, {target.scenario.primaries[-1].name: None}):
        yield


@contextmanager
def half_way_rotation(target: Target) -> Iterator[None]:
    """The first primary signs below a new root already, which no other cluster trusts yet."""
    cluster = target.scenario.primaries[0].name
    files = another_authority(target, cluster)
    both = content(target, cluster)[_ROOTS] + files[_ROOTS]
    with signing(target, {cluster: cacerts({**files, _ROOTS: both})}):
        yield


@contextmanager
def not_yet_valid(target: Target) -> Iterator[None]:
    """The last primary's intermediate is valid from tomorrow, and its istiod was started anew."""
    cluster = target.scenario.primaries[-1].name
    given = target.read(cluster, _SYSTEM, "secret", CACERTS)
    try:
        replace_cacerts(target, cluster, cacerts(_from_tomorrow()))
        target.system(cluster, "delete", "pods", "-l", "app=istiod", "--wait=false")
        target.until(
            "istiod to stop",
            cluster,
            lambda kube: kube.list(PODS, _SYSTEM, "app=istiod"),
            lambda pods: not any(pod.serving for pod in pods),
        )
        yield
    finally:
        replace_cacerts(target, cluster, given)
        target.restart(cluster, _ISTIOD)


def refused(make: Callable[[], Mapping[str, bytes]]) -> Injection:
    """The last primary's istiod starts with an authority by which nobody can verify what it signs,
    its own certificate included, and pods of the workloads are replaced.

    Args:
        make: files of the authority.
    """

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        cluster = target.scenario.primaries[-1].name
        given = target.read(cluster, _SYSTEM, "secret", CACERTS)
        try:
            _start(target, cluster, cacerts(make()))
            target.replace_workloads(cluster)
            yield
        finally:
            _start(target, cluster, given)
            restart_proxies(target, cluster)

    return inject


@contextmanager
def cacerts_unused(target: Target) -> Iterator[None]:
    """The last primary was given another authority, and its istiod was not restarted."""
    cluster = target.scenario.primaries[-1].name
    given = target.read(cluster, _SYSTEM, "secret", CACERTS)
    try:
        replace_cacerts(target, cluster, cacerts(another_authority(target, cluster)))
        yield
    finally:
        replace_cacerts(target, cluster, given)


@contextmanager
def proxies_not_restarted(target: Target) -> Iterator[None]:
    """All istiods sign below another root, and no proxy has a certificate of it."""
    files = make_certificates(target.scenario)
    clusters = [cluster.name for cluster in target.scenario.primaries]
    given = {name: target.read(name, _SYSTEM, "secret", CACERTS) for name in clusters}
    try:
        parallel_map(lambda name: _start(target, name, cacerts(_of(files, name))), clusters)
        yield
    finally:
        parallel_map(lambda name: _start(target, name, given[name]), clusters)


@contextmanager
def no_root_for_namespaces(target: Target) -> Iterator[None]:
    """The last primary's istiod may not write ConfigMaps, and new pods of the workloads wait."""
    cluster = target.scenario.primaries[-1].name
    role = "istiod-clusterrole-istio-system"
    given = target.read(cluster, "", "clusterrole", role)
    bundle = target.read(cluster, target.namespace, "configmap", ROOT_MAP)
    deployments = [each for each in _with_proxies(target, cluster) if each[0] != _SYSTEM]
    try:
        target.apply(cluster, _SYSTEM, {**given, "rules": [*map(_reading, given["rules"])]})
        target.delete(cluster, target.namespace, f"configmap/{ROOT_MAP}")
        for namespace, name in deployments:
            target.kubectl(cluster, "-n", namespace, "rollout", "restart", f"deployment/{name}")
        yield
    finally:
        target.apply(cluster, _SYSTEM, given)
        target.apply(cluster, target.namespace, bundle)
        target.restart(cluster, *deployments)


@contextmanager
def another_trust_domain(target: Target) -> Iterator[None]:
    """The last primary names its workloads in a trust domain that no other cluster knows."""
    cluster = target.scenario.primaries[-1].name
    with naming(target, {cluster: {"trustDomain": TRUST_DOMAIN}}):
        yield


@contextmanager
def naming(target: Target, settings: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Primaries name workloads in another way, and all of their proxies were restarted.

    Args:
        settings: of the mesh configuration, by cluster.
    """
    given = {name: target.read(name, _SYSTEM, "configmap", MESH) for name in settings}

    def named_by(configurations: Mapping[str, Manifest]) -> None:
        # An istiod signs in the trust domain that it started with.
        parallel_map(lambda name: _restart(target, name, configurations[name]), configurations)
        parallel_map(lambda name: restart_proxies(target, name), configurations)

    try:
        named_by({name: with_settings(given[name], each) for name, each in settings.items()})
        yield
    finally:
        named_by(given)


def _restart(target: Target, cluster: str, configuration: Manifest) -> None:
    target.apply(cluster, _SYSTEM, configuration)
    target.restart(cluster, _ISTIOD)


def _reading(rule: Manifest) -> Manifest:
    """A rule of a role without what changes ConfigMaps."""
    if "configmaps" not in rule.get("resources", ()):
        return rule
    return {**rule, "verbs": ["get", "list", "watch"]}


@contextmanager
def another_network(target: Target) -> Iterator[None]:
    """The last primary's istiod injects proxies that take themselves for ones of network1."""
    cluster = target.scenario.primaries[-1].name
    given = target.read(cluster, _SYSTEM, "configmap", INJECTOR)
    values = json.loads(given["data"]["values"])
    values["global"]["network"] = target.scenario.clusters[0].network
    changed = {**given["data"], "values": json.dumps(values)}
    try:
        _inject(target, cluster, {**given, "data": changed}, target.scenario.clusters[0].network)
        yield
    finally:
        _inject(target, cluster, given, target.scenario.cluster(cluster).network)


def _inject(target: Target, cluster: str, injector: Manifest, network: str) -> None:
    """Change how proxies are configured, and restart the workloads until they are."""
    target.apply(cluster, _SYSTEM, injector)
    deployments = [each for each in _with_proxies(target, cluster) if each[0] != _SYSTEM]

    def networks_held() -> set[str]:
        target.restart(cluster, *deployments)
        pods = [each for each in target.kube[cluster].list(PODS, target.namespace) if each.serving]
        return {injected.network for injected in map(injection_of, pods) if injected is not None}

    target.until(
        f"proxies of {network}",
        cluster,
        lambda kube: networks_held(),
        lambda found: found == {network},
    )


@contextmanager
def signing(target: Target, authorities: Mapping[str, Manifest | None]) -> Iterator[None]:
    """Istiods of primaries sign with other authorities, and all of their proxies were restarted.

    Args:
        authorities: the secret that each is given; None for nothing.
    """
    given = {name: target.read(name, _SYSTEM, "secret", CACERTS) for name in authorities}

    def sign(with_these: Mapping[str, Manifest | None]) -> None:
        parallel_map(lambda name: _start(target, name, with_these[name]), with_these)
        parallel_map(lambda name: restart_proxies(target, name), with_these)

    try:
        sign(authorities)
        yield
    finally:
        for name in authorities:
            target.delete(name, _SYSTEM, f"secret/{SELF_SIGNED}")
        sign(given)


def another_authority(target: Target, cluster: str) -> Mapping[str, bytes]:
    """Files of `cacerts` that are below a root which no cluster has."""
    return _of(make_certificates(target.scenario), cluster)


def content(target: Target, cluster: str) -> dict[str, bytes]:
    """Files of a cluster's `cacerts`."""
    secret = target.read(cluster, _SYSTEM, "secret", CACERTS)
    return {name: base64.b64decode(encoded) for name, encoded in secret["data"].items()}


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


def self_signed(root: Credential) -> Manifest:
    """The secret in which istiod keeps an authority of its own."""
    files = {"ca-cert.pem": root.certificate_pem, "ca-key.pem": root.key_pem}
    named = {"name": SELF_SIGNED}
    return {**cacerts(files), "type": "istio.io/ca-root", "metadata": named}


def restart_proxies(target: Target, cluster: str) -> None:
    """Replace every pod of the mesh but istiod's."""
    target.restart(cluster, *_with_proxies(target, cluster))


def _of(files: Mapping[str, bytes], cluster: str) -> dict[str, bytes]:
    return {name: files[f"{cluster}/{name}"] for name in CLUSTER_FILES}


def _from_tomorrow() -> dict[str, bytes]:
    """Files of an authority whose intermediate is not valid yet."""
    root = authority(subject("Root CA"), rsa_key(), 10 * _DAY, path_length=1)
    key = rsa_key()
    now = datetime.now(UTC)
    issuing = (
        x509.CertificateBuilder()
        .subject_name(subject("Intermediate CA"))
        .issuer_name(root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + _DAY)
        .not_valid_after(now + 2 * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root.key, hashes.SHA256())
    )
    made = Credential(issuing, key)
    return {
        "ca-cert.pem": made.certificate_pem,
        "ca-key.pem": made.key_pem,
        _ROOTS: root.certificate_pem,
        "cert-chain.pem": made.certificate_pem + root.certificate_pem,
    }


def below_a_root_for_leaves() -> dict[str, bytes]:
    """Files of an authority whose root permits none below it, as that of an issuer which is to sign
    the certificates of servers only.
    """
    return _below(authority(subject("Root CA"), rsa_key(), 10 * _DAY, path_length=0))


def absent_from_the_chain() -> dict[str, bytes]:
    """Files of an authority whose own certificate is not in the chain, which has the root only."""
    root = authority(subject("Root CA"), rsa_key(), 10 * _DAY, path_length=1)
    return {**_below(root), "cert-chain.pem": root.certificate_pem}


def _below(root: Credential) -> dict[str, bytes]:
    made = authority(subject("Intermediate CA"), rsa_key(), 5 * _DAY, issuer=root)
    return {
        "ca-cert.pem": made.certificate_pem,
        "ca-key.pem": made.key_pem,
        _ROOTS: root.certificate_pem,
        "cert-chain.pem": made.certificate_pem + root.certificate_pem,
    }


def replace_cacerts(target: Target, cluster: str, secret: Manifest | None) -> None:
    """Give a cluster another secret `cacerts`, or none."""
    target.delete(cluster, _SYSTEM, f"secret/{CACERTS}")
    if secret is not None:
        target.apply(cluster, _SYSTEM, secret)


def _start(target: Target, cluster: str, secret: Manifest | None) -> None:
    """Give a cluster's istiod an authority, and start it anew until it hands out that one's roots.

    Args:
        secret: None for nothing, or for what was put into its own secret before.
    """
    replace_cacerts(target, cluster, secret)
    target.restart(cluster, _ISTIOD)
    own = secret or target.read(cluster, _SYSTEM, "secret", SELF_SIGNED)
    await_roots(target, cluster, own)


def await_roots(target: Target, cluster: str, secret: Manifest) -> None:
    """Wait until a cluster's pods are told the roots of what an istiod signs with."""
    data = secret["data"]
    wanted = _prints([base64.b64decode(data.get(_ROOTS) or data["ca-cert.pem"])])
    target.until(
        "the roots of another authority for the cluster's proxies",
        cluster,
        lambda kube: _prints(_bundles(target, kube.name)),
        lambda found: found == wanted,
    )


def _bundles(target: Target, cluster: str) -> Iterator[bytes]:
    """What pods are told to trust, in the namespaces of workloads and of gateways."""
    for namespace in (target.namespace, _SYSTEM):
        asked = ("get", "configmap", ROOT_MAP, "--ignore-not-found", "-o", "json")
        found = target.kubectl(cluster, "-n", namespace, *asked)
        yield json.loads(found)["data"][_ROOTS].encode() if found else b""


def _prints(bundles: Iterable[bytes]) -> frozenset[str]:
    return frozenset(
        each.fingerprint(hashes.SHA256()).hex() if each else ""
        for pem in bundles
        for each in (x509.load_pem_x509_certificates(pem) if pem else [None])
    )


def _with_proxies(target: Target, cluster: str) -> list[tuple[str, str]]:
    """Namespace and name of every Deployment of the mesh but istiod."""
    return [
        (namespace, each.meta.name)
        for namespace in (_SYSTEM, target.namespace)
        for each in target.kube[cluster].list(DEPLOYMENTS, namespace)
        if (namespace, each.meta.name) != _ISTIOD
    ]

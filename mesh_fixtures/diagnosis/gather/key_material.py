"""Certificate authorities of a cluster: istiod's own, and those that it hands out.

Source: Istio, Plug in CA Certificates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mesh_fixtures.diagnosis import facts
from mesh_fixtures.install.certificates import CACERTS
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.resources import CONFIG_MAPS
from mesh_fixtures.probe.certificates import Certificate, authority, describe, read_certificates

ROOT_BUNDLE: Final = "istio-ca-root-cert"
"""ConfigMap in every namespace by which proxies verify istiod."""

_ROOT_FILE: Final = "root-cert.pem"


def read_authority(kube: KubeClient) -> facts.Authority:
    found = authority(kube)
    if found is None:
        return facts.Authority(present=False)
    return facts.Authority(
        present=found.secret == CACERTS,
        secret=found.secret,
        issuing=found.issuing.subject,
        below=roots_of(found.material.path),
        roots=roots_of(found.roots),
        defects=found.defects,
    )


def roots_of(certificates: tuple[Certificate, ...]) -> tuple[facts.Root, ...]:
    """What of certificates that verify others is kept."""
    return tuple(facts.Root(each.fingerprint, each.subject, each.key) for each in certificates)


def read_root_bundles(
    wanted: tuple[str, ...], kube: KubeClient
) -> Mapping[str, tuple[facts.Root, ...]]:
    found = {}
    for namespace in wanted:
        source = kube.source("configmaps", namespace, ROOT_BUNDLE)
        bundle = kube.get(CONFIG_MAPS, namespace, ROOT_BUNDLE)
        if bundle is not None:
            pem = bundle.data.get(_ROOT_FILE, "").encode()
            certificates = read_certificates(source, _ROOT_FILE, pem)
            found[namespace] = roots_of(tuple(map(describe, certificates)))
    return found

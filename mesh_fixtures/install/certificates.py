"""A mesh's certificate authorities: one root, and an intermediate of it for each cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mesh_fixtures.certificates import Credential, authority, rsa_key, subject
from mesh_fixtures.scenario import Scenario

FOLDER: Final = "certs"
"""Where the files belong, relative to the folder that the installation's commands run in."""

CACERTS: Final = "cacerts"
"""Name of the secret that a cluster's istiod signs with."""

CLUSTER_FILES: Final = ("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem")
"""Keys of that secret: certificate, its key, root, chain (source: Istio, Plug in CA
Certificates)."""

ROOT_CERTIFICATE: Final = "root-cert.pem"
"""File of the root's certificate, in `FOLDER` and in each cluster's."""

ROOT_KEY: Final = "root-key.pem"
"""File of the root's key in `FOLDER`, where it is kept."""

ROOT_LIFETIME: Final = timedelta(days=3650)
INTERMEDIATE_LIFETIME: Final = timedelta(days=1825)

ISTIOD_NAME: Final = "istiod.istio-system.svc"


def make_certificates(scenario: Scenario, root: Credential | None = None) -> Mapping[str, bytes]:
    """PEM files by name relative to `FOLDER`: the root's certificate, and for each cluster what
    its secret `cacerts` holds (guide: Configure Trust). Of an external control plane, the
    clusters that it serves need none.

    Args:
        root: what signs the intermediates; None for a new one, whose key is dropped: nothing needs
            it after they are signed.
    """
    root = root or make_root(scenario)
    files = {ROOT_CERTIFICATE: root.certificate_pem}
    external = scenario.external
    for cluster in scenario.clusters if external is None else (external,):
        intermediate = _make_intermediate(root, cluster.name)
        contents = {
            "ca-cert.pem": intermediate.certificate_pem,
            "ca-key.pem": intermediate.key_pem,
            ROOT_CERTIFICATE: root.certificate_pem,
            "cert-chain.pem": intermediate.certificate_pem + root.certificate_pem,
        }
        files |= {f"{cluster.name}/{name}": content for name, content in contents.items()}
    return files


def write_certificates(
    scenario: Scenario, working_folder: Path, *, keep_root_key: bool = False
) -> Path:
    """Make certificates and write them below `FOLDER` of the folder that commands run in.

    Args:
        keep_root_key: write the root's key, too, by which intermediates can be renewed.

    Returns:
        The folder of the certificates. Files are readable by their owner only.

    Raises:
        OSError: they cannot be written.
    """
    root = make_root(scenario)
    files = dict(make_certificates(scenario, root))
    if keep_root_key:
        files[ROOT_KEY] = root.key_pem
    folder = working_folder / FOLDER
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
    return folder


def kept_root(working_folder: Path) -> Credential | None:
    """The root that `write_certificates` kept the key of; None where it did not.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file holds something else.
    """
    folder = working_folder / FOLDER
    if not (folder / ROOT_KEY).exists():
        return None
    certificate = x509.load_pem_x509_certificate((folder / ROOT_CERTIFICATE).read_bytes())
    key = serialization.load_pem_private_key((folder / ROOT_KEY).read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{folder / ROOT_KEY} holds another kind of key than RSA")
    return Credential(certificate, key)


def make_root(scenario: Scenario) -> Credential:
    """A new root for a mesh."""
    return authority(_name("Root CA", scenario.mesh_id), rsa_key(), ROOT_LIFETIME, path_length=1)


def _make_intermediate(root: Credential, cluster: str) -> Credential:
    return authority(
        _name("Intermediate CA", cluster),
        rsa_key(),
        INTERMEDIATE_LIFETIME,
        issuer=root,
        names=[x509.DNSName(ISTIOD_NAME)],
    )


def _name(common_name: str, locality: str) -> x509.Name:
    return subject(common_name, organizations=["mesh-conformance"], locality=locality)

"""Certificate authorities of a mesh, as a verifier sees them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from mesh_examples import SCENARIOS

from mesh_fixtures.certificates import elliptic_key, key_pem
from mesh_fixtures.install.certificates import (
    CLUSTER_FILES,
    kept_root,
    make_certificates,
    write_certificates,
)

SCENARIO = SCENARIOS["primary-remote"]
FILES = make_certificates(SCENARIO)
CLUSTERS = ("cluster1", "cluster2")


def certificate(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(FILES[name])


def test_the_files_of_every_cluster_and_no_key_of_the_root() -> None:
    expected = {f"{cluster}/{file}" for cluster in CLUSTERS for file in CLUSTER_FILES}
    assert set(FILES) == {"root-cert.pem", *expected}
    keys = [name for name, content in FILES.items() if b"PRIVATE KEY" in content]
    assert keys == [f"{cluster}/ca-key.pem" for cluster in CLUSTERS]


def test_intermediates_are_issued_by_the_one_root() -> None:
    root = certificate("root-cert.pem")
    root.verify_directly_issued_by(root)
    for cluster in CLUSTERS:
        intermediate = certificate(f"{cluster}/ca-cert.pem")
        intermediate.verify_directly_issued_by(root)
        chain = x509.load_pem_x509_certificates(FILES[f"{cluster}/cert-chain.pem"])
        assert chain == [intermediate, root]
        assert certificate(f"{cluster}/root-cert.pem") == root


def test_each_cluster_has_its_own() -> None:
    one, other = (certificate(f"{cluster}/ca-cert.pem") for cluster in CLUSTERS)
    assert one.serial_number != other.serial_number
    assert one.public_key() != other.public_key()
    assert one.subject.get_attributes_for_oid(NameOID.LOCALITY_NAME)[0].value == "cluster1"


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_the_key_belongs_to_the_certificate(cluster: str) -> None:
    key = serialization.load_pem_private_key(FILES[f"{cluster}/ca-key.pem"], password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.public_key() == certificate(f"{cluster}/ca-cert.pem").public_key()


@pytest.mark.parametrize(("name", "length"), [("root-cert.pem", 1), ("cluster1/ca-cert.pem", 0)])
def test_extensions(name: str, length: int) -> None:
    extensions = certificate(name).extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=length)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign


def test_key_identifiers_link_the_chain() -> None:
    root = certificate("root-cert.pem").extensions
    identifier = root.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    intermediate = certificate("cluster1/ca-cert.pem").extensions
    authority = intermediate.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert authority.key_identifier == identifier
    names = intermediate.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["istiod.istio-system.svc"]


def test_validity() -> None:
    root, intermediate = certificate("root-cert.pem"), certificate("cluster2/ca-cert.pem")
    now = datetime.now(UTC)
    assert intermediate.not_valid_before_utc < now < intermediate.not_valid_after_utc
    assert root.not_valid_before_utc <= intermediate.not_valid_before_utc
    assert intermediate.not_valid_after_utc < root.not_valid_after_utc
    assert root.not_valid_after_utc - now < timedelta(days=3650)


def test_every_making_has_its_own_root() -> None:
    assert make_certificates(SCENARIO)["root-cert.pem"] != FILES["root-cert.pem"]


def test_intermediates_are_renewed_below_a_root_that_was_kept(tmp_path: Path) -> None:
    folder = write_certificates(SCENARIO, tmp_path, keep_root_key=True)
    root = kept_root(tmp_path)
    assert root is not None
    assert (folder / "root-key.pem").stat().st_mode & 0o777 == 0o600
    renewed = make_certificates(SCENARIO, root)
    assert renewed["root-cert.pem"] == (folder / "root-cert.pem").read_bytes()
    intermediate = x509.load_pem_x509_certificate(renewed["cluster1/ca-cert.pem"])
    intermediate.verify_directly_issued_by(root.certificate)
    assert renewed["cluster1/ca-cert.pem"] != (folder / "cluster1/ca-cert.pem").read_bytes()


def test_the_key_of_a_root_is_not_kept_unless_it_is_asked_for(tmp_path: Path) -> None:
    folder = write_certificates(SCENARIO, tmp_path)
    assert kept_root(tmp_path) is None
    (folder / "root-key.pem").write_bytes(key_pem(elliptic_key()))
    with pytest.raises(ValueError, match="another kind of key"):
        kept_root(tmp_path)


def test_written_for_their_owner_only(tmp_path: Path) -> None:
    folder = write_certificates(SCENARIO, tmp_path)
    assert folder == tmp_path / "certs"
    written = [file for file in folder.rglob("*") if file.is_file()]
    assert {str(file.relative_to(folder)) for file in written} == set(FILES)
    assert {file.stat().st_mode & 0o777 for file in written} == {0o600}
    write_certificates(SCENARIO, tmp_path)

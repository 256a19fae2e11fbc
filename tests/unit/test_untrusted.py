"""Credentials that are sound in themselves, so that only their issuer speaks against them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mesh_fixtures.probe.identities import spiffe_ids
from mesh_fixtures.probe.untrusted import signing_request, untrusted_client, untrusted_token

SLEEP = "spiffe://cluster.local/ns/sample/sa/sleep"


def test_an_untrusted_client_has_a_valid_certificate_of_another_root() -> None:
    made = untrusted_client(SLEEP)
    leaf, root = x509.load_pem_x509_certificates(made.chain)
    leaf.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert spiffe_ids(leaf) == (SLEEP,)
    assert leaf.not_valid_before_utc < datetime.now(UTC) < leaf.not_valid_after_utc
    assert load_pem_private_key(made.key, None).public_key() == leaf.public_key()
    assert "BEGIN" not in repr(made).replace(repr(made.chain), "")


def test_untrusted_clients_have_nothing_in_common() -> None:
    assert untrusted_client(SLEEP).chain != untrusted_client(SLEEP).chain


def test_a_request_for_a_certificate_is_signed() -> None:
    request = x509.load_pem_x509_csr(signing_request(SLEEP))
    assert request.is_signature_valid
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [SLEEP]


def test_a_token_claims_an_account() -> None:
    header, claims, signature = untrusted_token("sample", "sleep").split(".")

    def read(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    assert json.loads(read(header))["alg"] == "ES256"
    claimed = json.loads(read(claims))
    assert claimed["sub"] == "system:serviceaccount:sample:sleep"
    assert claimed["aud"] == ["istio-ca"]
    assert claimed["iat"] <= datetime.now(UTC).timestamp() < claimed["exp"]
    assert len(read(signature)) == 64

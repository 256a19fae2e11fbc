from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from certificate_examples import NOW, Made, bound, make, material
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fake_kube import pod, result
from mesh_examples import SCENARIOS

from mesh_fixtures.contract import GUIDE_NAMES
from mesh_fixtures.errors import NotPermitted, ProbeError
from mesh_fixtures.install.certificates import CLUSTER_FILES, make_certificates
from mesh_fixtures.kube import ConfigMap, Container, KubeClient, Meta, Pod, Secret, Source
from mesh_fixtures.probe.certificates import (
    Authority,
    authority,
    describe,
    read_authority,
    root_bundle,
)


def read(data: Mapping[str, bytes], *, signs_istiod: bool = True) -> Authority:
    secret = Secret(Meta("cacerts", "istio-system"), data)
    return read_authority(result().source, secret, NOW, signs_istiod=signs_istiod)


def cacerts(issuing: Made, root: Made, *between: Made, key: Made | None = None) -> dict[str, bytes]:
    return {
        "ca-cert.pem": issuing.pem,
        "ca-key.pem": (key or issuing).key_pem,
        "root-cert.pem": root.pem,
        "cert-chain.pem": b"".join(each.pem for each in (issuing, *between, root)),
    }


OTHER = make("other root")
ROOT = make("root")
ISSUING = make("intermediate", ROOT)


def test_an_intermediate_of_a_root() -> None:
    seen = read(cacerts(ISSUING, ROOT))
    assert seen.defects == ()
    assert seen.issuing.subject == "CN=intermediate"
    assert seen.issuing.issuer == "CN=root"
    assert seen.roots[0].fingerprint == ROOT.certificate.fingerprint(hashes.SHA256()).hex()
    assert seen.roots[0].short == seen.roots[0].fingerprint[:16]


def test_a_longer_chain() -> None:
    middle = make("middle", ROOT)
    assert read(cacerts(make("lowest", middle), ROOT, middle)).defects == ()


def test_a_link_of_the_chain_is_missing() -> None:
    seen = read(cacerts(make("lowest", make("middle", ROOT)), ROOT))
    assert seen.defects == ("CN=lowest is not signed by a root or an entry of the chain",)


def test_a_root_of_the_same_name_is_not_the_same_root() -> None:
    seen = read(cacerts(ISSUING, make("root")))
    assert seen.defects == ("CN=intermediate is not signed by a root or an entry of the chain",)


def test_a_chain_that_ends_in_a_root_that_is_not_trusted() -> None:
    data = cacerts(ISSUING, make("other"), ROOT)
    assert read(data).defects == ("CN=root is not signed by a root or an entry of the chain",)


def test_one_of_several_roots_suffices() -> None:
    data = cacerts(ISSUING, ROOT)
    data["root-cert.pem"] += make("next root").pem
    seen = read(data)
    assert seen.defects == ()
    assert len(seen.roots) == 2


def test_signing_with_the_root_itself() -> None:
    seen = read(cacerts(ROOT, ROOT))
    assert seen.issuing.fingerprint == seen.roots[0].fingerprint
    assert seen.defects == ()


def test_a_key_of_another_certificate() -> None:
    seen = read(cacerts(ISSUING, ROOT, key=ROOT))
    assert seen.defects == ("ca-key.pem is not the key of ca-cert.pem",)


def test_expired() -> None:
    seen = read(cacerts(make("old", ROOT, days=-1), ROOT))
    assert seen.defects == ("CN=old is valid from 2026-11-20 to 2026-11-21 only",)


def test_no_authority() -> None:
    seen = read(cacerts(make("leaf", ROOT, authority=False), ROOT))
    assert seen.defects == ("CN=leaf is no authority",)


ABOVE_NONE = make("root", path_length=0)
ABOVE_ONE = make("root", path_length=1)
BELOW_ROOT = make("subordinate", ROOT, path_length=0)


@pytest.mark.parametrize(
    ("data", "defects"),
    [
        (
            cacerts(make("issuing", ABOVE_NONE), ABOVE_NONE),
            ("CN=root permits 0 authorities below it (pathlen:0), and has 1: CN=issuing",),
        ),
        (
            cacerts(make("issuing", BELOW_ROOT), ROOT, BELOW_ROOT),
            ("CN=subordinate permits 0 authorities below it (pathlen:0), and has 1: CN=issuing",),
        ),
        (cacerts(make("issuing", ABOVE_ONE, path_length=0), ABOVE_ONE), ()),
        (cacerts(ABOVE_NONE, ABOVE_NONE), ()),
        (cacerts(BELOW_ROOT, ROOT), ()),
    ],
)
def test_how_many_authorities_may_be_below_one(
    data: Mapping[str, bytes], defects: tuple[str, ...]
) -> None:
    assert read(data).defects == defects


def test_self_issued_certificates_do_not_count_as_authorities_below_one() -> None:
    renewed = make("root", ABOVE_ONE)
    data = cacerts(make("issuing", renewed, path_length=0), ABOVE_ONE, renewed)
    assert read(data).defects == ()


def test_the_path_length_of_a_root_matters_only_for_what_go_verifies() -> None:
    data = cacerts(make("issuing", ABOVE_NONE), ABOVE_NONE)
    assert read(data, signs_istiod=False).defects == ()
    below = cacerts(make("issuing", BELOW_ROOT), ROOT, BELOW_ROOT)
    assert read(below, signs_istiod=False).defects != ()


@pytest.mark.parametrize(
    ("signs", "defects"),
    [
        (None, ()),
        (True, ()),
        (False, ("the key usage of CN=issuing does not permit it to sign certificates",)),
    ],
)
def test_the_key_usage_of_an_authority(signs: bool | None, defects: tuple[str, ...]) -> None:
    assert read(cacerts(make("issuing", ROOT, signs=signs), ROOT)).defects == defects


@pytest.mark.parametrize(
    ("permitted", "excluded", "is_sound"),
    [
        ("cluster.local", None, True),
        ("Cluster.Local", None, True),
        ("local", None, True),
        (".local", None, True),
        ("", None, True),
        ("corp.example", None, False),
        (".cluster.local.example", None, False),
        (None, "corp.example", True),
        (None, "local", True),
        (None, ".local", False),
        (None, "cluster.local", False),
        ("cluster.local", "cluster.local", False),
    ],
)
def test_names_that_an_authority_is_bound_to(
    permitted: str | None, excluded: str | None, is_sound: bool
) -> None:
    constraints = bound(permitted=permitted, excluded=excluded)
    root = make("root", constraints=constraints)
    assert describe(root.certificate).forbids("cluster.local") is not is_sound
    secret = Secret(Meta("cacerts", "istio-system"), cacerts(make("issuing", root), root))
    seen = read_authority(result().source, secret, NOW, trust_domain=lambda: "cluster.local")
    assert (seen.defects == ()) is is_sound
    unknown = read_authority(result().source, secret, NOW)
    assert unknown.defects == ()


def test_name_constraints_of_other_kinds_say_nothing_of_identities() -> None:
    constraints = x509.NameConstraints([x509.DNSName("corp.example")], None)
    root = make("root", constraints=constraints)
    assert not describe(root.certificate).forbids("cluster.local")


def test_of_cross_signed_authorities_one_sound_path_suffices() -> None:
    new = make("new root")
    crossed = make("new root", ABOVE_NONE, key=new.key)
    issuing = make("issuing", new)
    data = cacerts(issuing, ABOVE_NONE, crossed)
    assert len(read(data).defects) == 1
    data["root-cert.pem"] += new.pem
    assert read(data).defects == ()
    expired = make("new root", days=-1, key=new.key)
    data["root-cert.pem"] = expired.pem + new.pem
    assert read(data).defects == ()


def lacking(data: Mapping[str, bytes], chain: bytes) -> dict[str, bytes]:
    return {**data, "cert-chain.pem": chain}


@pytest.mark.parametrize(
    ("chain", "is_sound"),
    [
        (ISSUING.pem, True),
        (ROOT.pem + ISSUING.pem, True),
        (ROOT.pem, False),
        (make("intermediate", ROOT).pem, False),
        (make("intermediate", ROOT, key=ISSUING.key).pem, True),
    ],
    ids=("its own", "with the root", "the root alone", "another's", "its own renewed"),
)
def test_the_chain_has_what_istiod_signs_with(chain: bytes, is_sound: bool) -> None:
    defects = read(lacking(cacerts(ISSUING, ROOT), chain)).defects
    assert defects == () if is_sound else "cert-chain.pem lacks CN=intermediate" in defects[0]


def test_a_root_that_istiod_signs_with_need_not_be_in_the_chain() -> None:
    assert read(lacking(cacerts(ROOT, ROOT), OTHER.pem)).defects == ()
    assert read(lacking(cacerts(ISSUING, ISSUING), ROOT.pem)).defects == ()


def test_the_form_of_kubernetes() -> None:
    data = {"tls.crt": ISSUING.pem, "tls.key": ISSUING.key_pem, "ca.crt": ROOT.pem}
    assert read(data).defects == ()


def test_the_projects_own_certificates() -> None:
    files = make_certificates(SCENARIOS["multi-primary"])
    seen = {}
    for cluster in ("cluster1", "cluster2"):
        data = {
            name.partition("/")[2]: content
            for name, content in files.items()
            if name.startswith(f"{cluster}/")
        }
        secret = Secret(Meta("cacerts", "istio-system"), data)
        seen[cluster] = read_authority(result().source, secret, datetime.now(UTC))
        assert seen[cluster].defects == ()
    assert seen["cluster1"].roots == seen["cluster2"].roots
    assert seen["cluster1"].issuing.key != seen["cluster2"].issuing.key


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ca-cert.pem", b"text", "ca-cert.pem holds no certificate"),
        ("root-cert.pem", b"", "root-cert.pem holds no certificate"),
        ("ca-key.pem", b"text", "ca-key.pem is no private key"),
        ("cert-chain.pem", None, "no entry cert-chain.pem"),
    ],
)
def test_a_secret_that_cannot_be_read(name: str, content: bytes | None, message: str) -> None:
    data = cacerts(ISSUING, ROOT)
    del data[name]
    if content is not None:
        data[name] = content
    with pytest.raises(ProbeError, match=message):
        read(data)


def test_a_key_that_signs_what_nobody_can_verify() -> None:
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    damaged = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d + 2, numbers.dmp1 + 2, numbers.dmq1, numbers.iqmp,
        numbers.public_numbers,
    ).private_key(unsafe_skip_rsa_key_validation=True)  # fmt: skip
    pem = damaged.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ProbeError, match=r"ca-key.pem is no private key"):
        read({**cacerts(ISSUING, ROOT), "ca-key.pem": pem})


def test_of_two_forms_the_one_that_istiod_reads() -> None:
    new = make("new", OTHER)
    of_tls = {"tls.crt": ISSUING.pem, "tls.key": ISSUING.key_pem, "ca.crt": ROOT.pem}
    seen = read({**cacerts(new, OTHER), **of_tls})
    assert seen.issuing == describe(ISSUING.certificate)
    assert seen.unread == CLUSTER_FILES
    assert read(of_tls).unread == read(cacerts(ISSUING, ROOT)).unread == ()


class Bundles:
    """A cluster whose pods are told these roots."""

    def __init__(self, **roots: bytes) -> None:
        self.roots = roots

    def get(self, resource: Any, namespace: str, name: str) -> ConfigMap | None:
        assert name == "istio-ca-root-cert"
        pem = self.roots.get(namespace)
        data = {} if pem is None else {"root-cert.pem": pem.decode()}
        return None if pem is None else ConfigMap(Meta(name, namespace), data)

    def source(self, kind: str, namespace: str, name: str) -> Source:
        return result().source


def test_the_roots_that_pods_are_told() -> None:
    kube = cast("KubeClient", Bundles(sample=ROOT.pem + OTHER.pem, broken=b""))
    told = root_bundle(kube, "sample")
    assert told == (describe(ROOT.certificate), describe(OTHER.certificate))
    assert root_bundle(kube, "other") is None
    with pytest.raises(ProbeError, match=r"root-cert\.pem holds no certificate"):
        root_bundle(kube, "broken")


@pytest.mark.parametrize("blank", [b"", b"\n"])
def test_a_blank_chain_is_that_of_a_root_that_signs(blank: bytes) -> None:
    generated = {**cacerts(ROOT, ROOT), "cert-chain.pem": blank, "istio-generated": b""}
    seen = read(generated)
    assert seen.defects == ()
    assert seen.material.path == (describe(ROOT.certificate),)
    below = {**cacerts(make("lowest", make("middle", ROOT)), ROOT), "cert-chain.pem": blank}
    assert "CN=lowest is not signed by a root or an entry of the chain" in read(below).defects


def test_an_empty_secret() -> None:
    with pytest.raises(ProbeError, match=r"no entry ca\.crt, tls\.crt, tls\.key"):
        read({})


def test_the_authority_that_istiod_made() -> None:
    made = Secret(
        Meta("istio-ca-secret", "istio-system"),
        {"ca-cert.pem": ROOT.pem, "ca-key.pem": ROOT.key_pem, "root-cert.pem": b""},
    )
    seen = read_authority(result().source, made, NOW)
    assert seen.secret == "istio-ca-secret"
    assert seen.issuing.fingerprint == seen.roots[0].fingerprint
    assert seen.defects == ()


class Secrets:
    """A cluster with secrets, and with an istiod that was given these variables."""

    names = GUIDE_NAMES

    def now(self) -> datetime:
        return NOW

    def __init__(self, found: Mapping[str, Secret | None], **env: str) -> None:
        self.found = found
        self.istiod = replace(pod("istiod-1"), containers=(Container("discovery", env=env),))

    def get(self, resource: Any, namespace: str, name: str) -> Secret | None:
        if name not in self.found:
            raise NotPermitted(wanted="permission", seen="403", where="cluster1")
        return self.found[name]

    def list(self, resource: Any, namespace: str, selector: str) -> tuple[Pod, ...]:
        return (self.istiod,)

    def source(self, kind: str, namespace: str, name: str) -> Source:
        return result().source

    def as_client(self) -> KubeClient:
        return cast("KubeClient", self)


GIVEN = Secret(Meta("cacerts", "istio-system"), cacerts(ISSUING, ROOT))
OWN = Secret(
    Meta("istio-ca-secret", "istio-system"), {"ca-cert.pem": ROOT.pem, "ca-key.pem": ROOT.key_pem}
)


@pytest.mark.parametrize(
    ("found", "env", "secret"),
    [
        ({"cacerts": GIVEN, "istio-ca-secret": OWN}, {}, "cacerts"),
        ({"cacerts": None, "istio-ca-secret": OWN}, {}, "istio-ca-secret"),
        ({"cacerts": None, "istio-ca-secret": None}, {}, ""),
        ({"istio-ca-secret": OWN}, {}, "istio-ca-secret"),
        ({}, {}, ""),
        ({"cacerts": GIVEN}, {"ENABLE_CA_SERVER": "true"}, "cacerts"),
        ({"cacerts": GIVEN}, {"ENABLE_CA_SERVER": "false"}, ""),
        ({"cacerts": GIVEN}, {"EXTERNAL_CA": "ISTIOD_RA_KUBERNETES_API"}, ""),
    ],
)
def test_the_authority_that_istiod_signs_with_as_far_as_it_can_be_read(
    found: Mapping[str, Secret | None], env: Mapping[str, str], secret: str
) -> None:
    seen = authority(Secrets(found, **env).as_client())
    assert (seen.secret if seen else "") == secret


@pytest.mark.parametrize(
    ("env", "is_sound"),
    [
        ({}, False),
        ({"PILOT_CERT_PROVIDER": "istiod"}, False),
        ({"PILOT_CERT_PROVIDER": "k8s.io/x"}, True),
    ],
)
def test_who_signs_istiods_own_certificate(env: Mapping[str, str], is_sound: bool) -> None:
    data = cacerts(make("issuing", ABOVE_NONE), ABOVE_NONE)
    given = Secret(Meta("cacerts", "istio-system"), data)
    seen = authority(Secrets({"cacerts": given}, **env).as_client())
    assert seen is not None
    assert (not any("pathlen" in each for each in seen.defects)) is is_sound


@pytest.mark.parametrize(
    ("verifying", "shown", "accepts"),
    [
        (material(ISSUING, ROOT), material(ISSUING, ROOT), True),
        (material(ISSUING, ROOT), material(make("two", ROOT), ROOT), True),
        (material(ISSUING, OTHER), material(ISSUING, ROOT), False),
        (material(ISSUING, OTHER, ROOT), material(ISSUING, ROOT), True),
        (material(ISSUING, ROOT), material(ISSUING, OTHER, ROOT), True),
        (material(ISSUING, ROOT), material(make("b", OTHER), ROOT, OTHER, chain=[OTHER]), False),
        (material(ISSUING, ROOT), material(ROOT, ROOT), True),
        (material(ISSUING, ROOT), material(None, ROOT), False),
        (material(ISSUING, make("root", key=ROOT.key)), material(ISSUING, ROOT), True),
        (material(ISSUING, ISSUING), material(ISSUING, ROOT), True),
    ],
)
def test_who_accepts_whom(verifying: Any, shown: Any, accepts: bool) -> None:
    assert verifying.accepts(shown) is accepts

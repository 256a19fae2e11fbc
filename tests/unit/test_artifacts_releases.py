"""Addresses of releases by version and machine, and what files of checksums say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.artifacts import releases, versions
from mesh_fixtures.artifacts.releases import PROJECTS, PUBLIC, Addresses, sha256_of

DIGEST = hashlib.sha256(b"").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
digests = st.binary().map(lambda content: hashlib.sha256(content).hexdigest())
names = st.from_regex(r"[A-Za-z0-9._+-]{1,40}", fullmatch=True)
folders = st.sampled_from(["", "./", "dist/", "/build/out/"])


def line(form: str, digest: str, name: str) -> str:
    return form.format(digest=digest, name=name)


FORMS = (
    "{digest}  {name}",
    "{digest} *{name}",
    "\\{digest}  {name}",
    "SHA256 ({name}) = {digest}",
)


@given(digests, names, folders, st.sampled_from(FORMS), st.data())
def test_a_file_is_found_among_others(
    digest: str, name: str, folder: str, form: str, data: st.DataObject
) -> None:
    others = data.draw(st.lists(st.tuples(digests, names.filter(lambda other: other != name))))
    lines = [line(form, *other) for other in others]
    lines.insert(data.draw(st.integers(0, len(lines))), line(form, digest, folder + name))
    ending = data.draw(st.sampled_from(["\n", "\r\n"]))
    assert sha256_of(name, ending.join([*lines, ""])) == digest
    assert sha256_of(name, ending.join(lines).replace(digest, digest.upper())) == digest


@given(digests, names, st.sampled_from(["", "\n", " \n\n"]))
def test_a_digest_alone_is_that_of_the_file(digest: str, name: str, end: str) -> None:
    assert sha256_of(name, digest + end) == digest


@given(st.text(), names)
def test_what_is_no_checksum_is_refused(text: str, name: str) -> None:
    try:
        found = sha256_of(name, text)
    except ValueError:
        return
    assert found in text.lower()


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "no SHA-256 of file"),
        ("<html>not found</html>", "no SHA-256 of file"),
        (f"{DIGEST}  file.asc\n", "no SHA-256 of file"),
        (f"{DIGEST}  other\n{OTHER}  another\n", "no SHA-256 of file"),
        (f"{DIGEST}\n{OTHER}\n", "no SHA-256 of file"),
        (f"{DIGEST[:-1]}  file\n", "no SHA-256 of file"),
        (f"{DIGEST}  file\n{OTHER}  ./file\n", "several SHA-256 of file"),
    ],
)
def test_what_is_not_said_once_is_refused(text: str, seen: str) -> None:
    with pytest.raises(ValueError, match=seen):
        sha256_of("file", text)


def test_the_same_said_twice_will_do() -> None:
    assert sha256_of("file", f"{DIGEST}  file\nSHA256 (file) = {DIGEST}\n") == DIGEST


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_addresses_follow_from_version_and_machine(
    monkeypatch: pytest.MonkeyPatch, machine: str, architecture: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    made = [
        releases.kubernetes("1.36.3", ["kubelet"]),
        releases.etcd("3.6.8"),
        releases.coredns("1.14.7"),
        releases.containerd("1.7.35"),
        releases.runc("1.3.7"),
        releases.cni_plugins("1.9.1"),
        releases.istioctl("1.31.4"),
        releases.helm("3.22.0"),
        releases.kind("0.33.0"),
        releases.go("1.26.8"),
    ]
    found = {
        release.project: [PUBLIC.url(release.project, path) for path in (file.path, file.checksums)]
        for release in made
        for file in release.files
    }
    a = architecture
    k8s = f"https://dl.k8s.io/v1.36.3/bin/linux/{a}/kubelet"
    hub = "https://github.com"
    etcd = f"{hub}/etcd-io/etcd/releases/download/v3.6.8"
    coredns = f"{hub}/coredns/coredns/releases/download/v1.14.7/coredns_1.14.7_linux_{a}.tgz"
    containerd = f"{hub}/containerd/containerd/releases/download/v1.7.35"
    runc = f"{hub}/opencontainers/runc/releases/download/v1.3.7"
    cni = f"{hub}/containernetworking/plugins/releases/download/v1.9.1"
    istio = f"{hub}/istio/istio/releases/download/1.31.4/istioctl-1.31.4-linux-{a}.tar.gz"
    helm = f"https://get.helm.sh/helm-v3.22.0-linux-{a}.tar.gz"
    kind = f"{hub}/kubernetes-sigs/kind/releases/download/v0.33.0/kind-linux-{a}"
    go = f"https://dl.google.com/go/go1.26.8.linux-{a}.tar.gz"
    assert found == {
        "kubernetes": [k8s, f"{k8s}.sha256"],
        "etcd": [f"{etcd}/etcd-v3.6.8-linux-{a}.tar.gz", f"{etcd}/SHA256SUMS"],
        "coredns": [coredns, f"{coredns}.sha256"],
        "containerd": [
            f"{containerd}/containerd-1.7.35-linux-{a}.tar.gz",
            f"{containerd}/containerd-1.7.35-linux-{a}.tar.gz.sha256sum",
        ],
        "runc": [f"{runc}/runc.{a}", f"{runc}/runc.sha256sum"],
        "cni-plugins": [
            f"{cni}/cni-plugins-linux-{a}-v1.9.1.tgz",
            f"{cni}/cni-plugins-linux-{a}-v1.9.1.tgz.sha256",
        ],
        "istio": [istio, f"{istio}.sha256"],
        "helm": [helm, f"{helm}.sha256sum"],
        "kind": [kind, f"{kind}.sha256sum"],
        "go": [go, f"{go}.sha256"],
    }
    assert found.keys() == PROJECTS.keys() - {"metallb"}


def test_metallb_has_a_manifest_whose_digest_is_known() -> None:
    (file,) = releases.metallb().files
    assert PUBLIC.url("metallb", file.path).endswith(
        f"/v{versions.METALLB}/config/manifests/metallb-native.yaml"
    )
    assert (file.checksums, len(file.sha256)) == ("", 64)


def test_the_guide_has_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    made = [
        releases.kubernetes(versions.KUBERNETES, ["kubelet"]),
        *(releases.etcd(), releases.coredns(), releases.metallb(), releases.containerd()),
        *(releases.runc(), releases.cni_plugins(), releases.istioctl(versions.ISTIO_RELEASE)),
        *(releases.helm(), releases.kind(), releases.go()),
    ]
    rows = {
        f"| `{each.project}` | `{PROJECTS[each.project]}` | `{each.files[0].path}` |"
        for each in made
    }
    guide = (Path(__file__).parents[2] / "docs/released-parts.md").read_text(encoding="utf-8")
    assert rows <= set(guide.splitlines())
    assert f"toolchain ({versions.GO})" in guide
    assert f"`--istioctl`, by default {versions.ISTIO_RELEASE} " in guide


def test_every_version_of_kubernetes_is_released_as_all_programs() -> None:
    for version in (versions.KUBERNETES, *versions.OTHER_KUBERNETES):
        assert len(releases.kubernetes(version).files) == len(releases.KUBERNETES_PROGRAMS)


def test_where_a_file_comes_from_makes_no_difference() -> None:
    assert "://" not in str(releases.etcd().inputs)
    assert releases.etcd("3.6.8").inputs != releases.etcd("3.6.9").inputs


def test_an_address_of_a_project_counts_before_one_for_all() -> None:
    given = ["https://mirror.example/releases/", "etcd=http://127.0.0.1:1/etcd"]
    for each in (given, given[::-1]):
        addresses = Addresses.of(each)
        assert addresses.url("etcd", "v1/x") == "http://127.0.0.1:1/etcd/v1/x"
        assert addresses.url("helm", "y") == "https://mirror.example/releases/helm/y"
    assert Addresses.of(given[1:]).url("helm", "y") == "https://get.helm.sh/y"
    assert Addresses.of([]) == PUBLIC


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("etcd", "not an address"),
        ("etdc=https://mirror.example", "etdc is none of"),
        ("etcd=", "not an address"),
        ("etcd=mirror.example/etcd", "not an address"),
        ("file:///srv/mirror", "not an address"),
        ("https://", "not an address"),
        ("https://mirror.example/get?file=", "folder"),
        ("helm=https://mirror.example/#top", "folder"),
    ],
)
def test_what_is_no_address_is_refused(given: str, seen: str) -> None:
    with pytest.raises(ValueError, match=seen):
        Addresses.of([given])

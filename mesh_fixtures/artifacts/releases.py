"""What projects have released, as they publish it: addresses, names of files, and checksums.

Nothing is asked here. Sources of the names: Kubernetes, "Download Kubernetes"; the release pages of
etcd, CoreDNS, containerd, runc, the CNI plugins, kind and Istio; Helm, "Installing Helm"; Go, "All
releases"; MetalLB, "Installation by manifest".
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from mesh_fixtures.artifacts import versions

PROJECTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "kubernetes": "https://dl.k8s.io",
        "etcd": "https://github.com/etcd-io/etcd/releases/download",
        "coredns": "https://github.com/coredns/coredns/releases/download",
        "metallb": "https://raw.githubusercontent.com/metallb/metallb",
        "containerd": "https://github.com/containerd/containerd/releases/download",
        "runc": "https://github.com/opencontainers/runc/releases/download",
        "cni-plugins": "https://github.com/containernetworking/plugins/releases/download",
        "istio": "https://github.com/istio/istio/releases/download",
        "helm": "https://get.helm.sh",
        "kind": "https://github.com/kubernetes-sigs/kind/releases/download",
        "go": "https://dl.google.com/go",
    }
)
"""Where each project's releases are, by the name that it has here."""

KUBERNETES_PROGRAMS: Final = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
"""Programs of Kubernetes that nodes and this machine run."""

CNI_PLUGINS: Final = ("bridge", "host-local", "loopback", "portmap")
"""What a node's networks are made by."""

ALL: Final = "*"
"""Every member of an archive."""

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Published:
    """A file of a release.

    Attributes:
        path: below the project's address.
        target: what it becomes in a part; empty for an archive.
        members: of an archive, what each becomes, by its name there; `ALL` stands for every one,
            and becomes the folder of that name.
        checksums: path of the file that says its SHA-256, below the same address; empty where
            `sha256` is known.
        sha256: of the file, in hexadecimal.
    """

    path: str
    target: str = ""
    members: Mapping[str, str] = field(default_factory=dict)
    checksums: str = ""
    sha256: str = ""

    @property
    def name(self) -> str:
        """By which checksums mention it."""
        return self.path.rpartition("/")[2]

    @property
    def sign(self) -> str:
        """Path of a small file that is there when this one is."""
        return self.checksums or self.path


@dataclass(frozen=True)
class Release:
    """A version of a project.

    Attributes:
        project: one of `PROJECTS`.
        files: those that are wanted here.
    """

    project: str
    version: str
    files: tuple[Published, ...]

    @property
    def title(self) -> str:
        return f"{self.project} {self.version}"

    @property
    def inputs(self) -> Mapping[str, str]:
        """What decides the content of a part; not where its files come from."""
        files = {
            file.path: {file.target: file.sha256} if file.target else dict(file.members)
            for file in self.files
        }
        return {"release": self.title, "files": json.dumps(files, sort_keys=True)}


@dataclass(frozen=True)
class Addresses:
    """Where releases are looked for.

    Attributes:
        bases: by project, those that differ from `PROJECTS`.
    """

    bases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Sequence[str]) -> Addresses:
        """The addresses that are given.

        Args:
            given: each `PROJECT=URL`; or a `URL` alone, below which each project has a folder of
                its name. The more specific one counts, else the last.

        Raises:
            ValueError: one is neither; the text says which and why.
        """
        general: dict[str, str] = {}
        specific: dict[str, str] = {}
        for each in given:
            project, equals, url = each.partition("=")
            if not equals or "/" in project:
                base = _valid(each, each)
                general = {name: f"{base}/{name}" for name in PROJECTS}
            elif project in PROJECTS:
                specific[project] = _valid(url, each)
            else:
                raise ValueError(f"{each}: {project} is none of {', '.join(PROJECTS)}")
        return cls({**general, **specific})

    def url(self, project: str, path: str) -> str:
        """Address of a file."""
        return f"{self.bases.get(project, PROJECTS[project])}/{path}"


PUBLIC: Final = Addresses()
"""The projects' own."""


def _valid(url: str, given: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"{given}: not an address that begins with https:// or http://")
    if parts.query or parts.fragment:
        raise ValueError(f"{given}: an address of a folder, to which paths can be added")
    return url.rstrip("/")


def kubernetes(version: str, programs: Sequence[str] = KUBERNETES_PROGRAMS) -> Release:
    """Programs of Kubernetes, a file each."""
    folder = f"v{version}/bin/linux/{architecture()}"
    files = (
        Published(f"{folder}/{name}", name, checksums=f"{folder}/{name}.sha256")
        for name in programs
    )
    return Release("kubernetes", version, tuple(files))


def kubectl() -> Release:
    """Of `versions.KUBERNETES`, alone."""
    return kubernetes(versions.KUBERNETES, ["kubectl"])


def etcd(version: str = versions.ETCD) -> Release:
    name = f"etcd-v{version}-linux-{architecture()}"
    path, sums = f"v{version}/{name}.tar.gz", f"v{version}/SHA256SUMS"
    return Release("etcd", version, (_archive(path, sums, {f"{name}/etcd": "etcd"}),))


def coredns(version: str = versions.COREDNS) -> Release:
    path = f"v{version}/coredns_{version}_linux_{architecture()}.tgz"
    return Release("coredns", version, (_archive(path, f"{path}.sha256", {"coredns": "coredns"}),))


def metallb() -> Release:
    """The manifest of `versions.METALLB`, which names the images.

    MetalLB publishes no checksums; that of this file is known by its Go module.
    """
    version = versions.METALLB
    file = Published(
        f"v{version}/config/manifests/metallb-native.yaml",
        "metallb-native.yaml",
        sha256=versions.METALLB_MANIFEST_SHA256,
    )
    return Release("metallb", version, (file,))


def containerd(version: str = versions.CONTAINERD) -> Release:
    path = f"v{version}/containerd-{version}-linux-{architecture()}.tar.gz"
    members = {
        f"bin/{name}": f"usr/bin/{name}"
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    }
    return Release("containerd", version, (_archive(path, f"{path}.sha256sum", members),))


def runc(version: str = versions.RUNC) -> Release:
    folder = f"v{version}"
    file = Published(
        f"{folder}/runc.{architecture()}", "usr/sbin/runc", checksums=f"{folder}/runc.sha256sum"
    )
    return Release("runc", version, (file,))


def cni_plugins(version: str = versions.CNI_PLUGINS) -> Release:
    path = f"v{version}/cni-plugins-linux-{architecture()}-v{version}.tgz"
    members = {name: f"usr/lib/cni/{name}" for name in CNI_PLUGINS}
    return Release("cni-plugins", version, (_archive(path, f"{path}.sha256", members),))


def istioctl(version: str) -> Release:
    path = f"{version}/istioctl-{version}-linux-{architecture()}.tar.gz"
    return Release("istio", version, (_archive(path, f"{path}.sha256", {"istioctl": "istioctl"}),))


def helm(version: str = versions.HELM) -> Release:
    machine = f"linux-{architecture()}"
    path = f"helm-v{version}-{machine}.tar.gz"
    return Release(
        "helm", version, (_archive(path, f"{path}.sha256sum", {f"{machine}/helm": "helm"}),)
    )


def kind(version: str = versions.KIND) -> Release:
    path = f"v{version}/kind-linux-{architecture()}"
    return Release("kind", version, (Published(path, "kind", checksums=f"{path}.sha256sum"),))


def go(version: str = versions.GO) -> Release:
    """The toolchain, for what nobody has released: this project's own programs."""
    path = f"go{version}.linux-{architecture()}.tar.gz"
    return Release("go", version, (_archive(path, f"{path}.sha256", {ALL: "."}),))


def architecture() -> str:
    """This machine's, as releases call it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def _archive(path: str, checksums: str, members: Mapping[str, str]) -> Published:
    return Published(path, members=members, checksums=checksums)


_SHA256: Final = r"([0-9a-fA-F]{64})"
_BARE: Final = re.compile(_SHA256)
_GNU: Final = re.compile(rf"\\?{_SHA256} [ *](.+)")
_BSD: Final = re.compile(rf"SHA256 \((.+)\) = {_SHA256}")


def sha256_of(name: str, checksums: str) -> str:
    """The SHA-256 that a file of checksums says of a file, in lower case.

    Such a file is a digest alone, or has lines as sha256sum(1) writes them: `DIGEST  NAME`, `DIGEST
    *NAME`, or with --tag `SHA256 (NAME) = DIGEST`. Folders before a name do not matter.

    Raises:
        ValueError: it says none, or several.
    """
    lines = [line.strip() for line in checksums.splitlines() if line.strip()]
    if len(lines) == 1 and (bare := _BARE.fullmatch(lines[0])):
        return bare[1].lower()
    found = set()
    for line in lines:
        if gnu := _GNU.fullmatch(line):
            digest, mentioned = gnu[1], gnu[2]
        elif bsd := _BSD.fullmatch(line):
            digest, mentioned = bsd[2], bsd[1]
        else:
            continue
        if mentioned.rpartition("/")[2] == name:
            found.add(digest.lower())
    if not found:
        raise ValueError(f"no SHA-256 of {name}")
    if len(found) > 1:
        raise ValueError(f"several SHA-256 of {name}: {', '.join(sorted(found))}")
    return found.pop()

"""The suites' programs and images, compiled from the versions that labs are made of.

Source: Kubernetes, "Conformance Testing" (e2e.test); Istio, tests/integration/README.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mesh_fixtures.artifacts import catalog, debian, gobuild, istio, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.gobuild import Programs
from mesh_fixtures.artifacts.images import SEARCH_PATH, program, write_archive
from mesh_fixtures.artifacts.parts import Built, Part, Work
from mesh_fixtures.progress import Progress

ISTIO_SUITES: Final = ("pilot", "security")
"""Folders of Istio's integration tests whose meshes may have several clusters."""

KUBERNETES_SUITE: Final = "e2e"

SOURCE: Final = "source"
"""Folder of Istio's files in the part with its tests."""

ISTIO_IMAGES: Final = "fidelity-istio-images"
KUBERNETES_IMAGES: Final = "fidelity-kubernetes-images"
"""The parts with an archive each."""

ROOT: Final = "fidelity-root"
"""The part with the root file system of containers."""

AGNHOST: Final = "agnhost"
BUSYBOX: Final = "busybox"

ROOT_PACKAGES: Final = (
    "bash", "bind9-dnsutils", "bsdextrautils", "ca-certificates", "curl", "iproute2",
    "iputils-ping", "netcat-openbsd", "procps", "util-linux",
)  # fmt: skip
"""What tests call in their containers."""

_WHAT: Final = "to write the images of tests into an archive"
_MODULES: Final = Path(__file__).parent / "go"

_APP_USER: Final = 1338
"""As in Istio's image of the echo server: a user whose traffic is redirected to the proxy."""

_USERS: Final = (
    "root:x:0:0:root:/root:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/:/bin/sh\n"
    "user-defined-in-image:x:1000:1000::/:/bin/sh\n"
)
_GROUPS: Final = (
    "root:x:0:\nnogroup:x:65534:\nuser-defined-in-image:x:1000:\n"
    "group-defined-in-image:x:50000:user-defined-in-image\n"
)
"""As in the image agnhost, about whose groups there is a test."""


@dataclass(frozen=True)
class TestPrograms:
    """Programs of tests, of one module.

    Attributes:
        name: of the part.
        module: folder below this one's `go`.
        packages: packages with tests, by the name that their programs get before ".test".
        tags: of the Go command.
        settings: linker `-X` settings, value by variable.
        source: path of the module whose files are copied, too, with run bits for scripts, which a
            module's archive does not keep; empty for none.
    """

    __test__ = False

    name: str
    module: str
    packages: Mapping[str, str]
    tags: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    def part(self) -> Part:
        """The part whose folder holds each program, and the folder `source`."""
        folder = _MODULES / self.module
        files = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in (folder / "go.mod", folder / "go.sum")
        }
        described = json.dumps([dict(self.packages), self._flags(), self.source], sort_keys=True)
        inputs = {**files, "described": described}
        return Part(self.name, inputs, self._build, lane="go", seconds=3000.0)

    def _flags(self) -> list[str]:
        tags = ["-tags", self.tags] if self.tags else []
        return [*gobuild.FLAGS, *gobuild.link_flags(self.settings), *tags]

    def _build(self, work: Work) -> None:
        folder = _MODULES / self.module
        for name, package in self.packages.items():
            work.run(
                ["go", "test", "-c", "-vet=off", *self._flags(),
                 "-o", work.into / f"{name}.test", package],
                what=f"to build the tests of {package}",
                remedy=gobuild.REMEDY,
                env=gobuild.ENVIRONMENT,
                cwd=folder,
            )  # fmt: skip
        if self.source:
            _copy(gobuild.module_folder(work, self.source, folder), work.into / SOURCE)


def _copy(module: Path, target: Path) -> None:
    shutil.copytree(module, target, copy_function=shutil.copyfile)
    for place, folders, files in os.walk(target):
        for name in folders:
            Path(place, name).chmod(0o755)
        for name in files:
            file = Path(place, name)
            file.chmod(0o755 if file.suffix == ".sh" else 0o644)
    target.chmod(0o755)


def istio_tests() -> TestPrograms:
    """Istio's suites, and the files that they read."""
    packages = {name: f"{istio.MODULE}/tests/integration/{name}" for name in ISTIO_SUITES}
    return TestPrograms(
        "fidelity-istio-tests", "istio", packages, tags="integ", source=istio.MODULE
    )


def kubernetes_tests() -> TestPrograms:
    """Kubernetes' suite."""
    return TestPrograms(
        "fidelity-kubernetes-tests",
        "kubernetes",
        {KUBERNETES_SUITE: "k8s.io/kubernetes/test/e2e"},
        settings=gobuild.kubernetes_settings(),
    )


def istio_workloads() -> Programs:
    """What Istio's tests deploy."""
    certificates = f"{istio.MODULE}:tests/testdata/certs/dns"
    return Programs(
        "fidelity-istio-workloads",
        str(_MODULES / "istio"),
        {
            "server": f"{istio.MODULE}/pkg/test/echo/cmd/server",
            "client": f"{istio.MODULE}/pkg/test/echo/cmd/client",
            "extauthz": f"{istio.MODULE}/samples/extauthz/cmd/extauthz",
            "jwt-server": f"{istio.MODULE}/samples/jwt-server/src",
        },
        also={
            "cert.crt": f"{certificates}/cert-chain.pem",
            "cert.key": f"{certificates}/key.pem",
            "jwt-server.yaml": f"{istio.MODULE}:samples/jwt-server/jwt-server.yaml",
        },
    )


def kubernetes_workloads() -> Programs:
    """What Kubernetes' tests deploy, and the command that runs them side by side."""
    porter = "k8s.io/kubernetes:test/images/agnhost/porter"
    return Programs(
        "fidelity-kubernetes-workloads",
        str(_MODULES / "kubernetes"),
        {
            AGNHOST: "k8s.io/kubernetes/test/images/agnhost",
            "ginkgo": "github.com/onsi/ginkgo/v2/ginkgo",
        },
        also={name: f"{porter}/{name}" for name in ("localhost.crt", "localhost.key")},
    )


def _root() -> Part:
    """A root file system with the programs that tests call in containers."""

    def build(work: Work) -> None:
        root = work.into / "root"
        debian.install(work, root, ROOT_PACKAGES, variant="minbase")
        # dash drops variables of the environment that are no names of its own, such as data-1
        shell = root / "usr/bin/sh"
        shell.unlink()
        shell.symlink_to("bash")

    inputs = {
        "packages": " ".join(ROOT_PACKAGES),
        "suite": versions.DEBIAN_SUITE,
        "left out": " ".join(debian.LEFT_OUT),
    }
    return Part(ROOT, inputs, build)


def istio_images(folders: Mapping[str, Path]) -> dict[str, Any]:
    """What `oci-image` is to write for Istio's tests; folders of parts by name."""
    programs, root = folders[istio_workloads().name], folders[ROOT]
    binaries = "/usr/local/bin"
    return {
        "layers": {
            "root": {"trees": [{"from": str(root / "root")}]},
            "app": {
                "files": [
                    *(
                        program(programs / name, f"{binaries}/{name}")
                        for name in ("server", "client")
                    ),
                    *(_file(programs / name, f"/{name}") for name in ("cert.crt", "cert.key")),
                ]
            },
            "ext-authz": {"files": [program(programs / "extauthz", f"{binaries}/extauthz")]},
            "jwt-server": {"files": [program(programs / "jwt-server", "/bin/jwt-server")]},
        },
        "images": [
            {
                "name": f"{versions.IMAGE_HUB}/app:{versions.ISTIO}",
                "layers": ["root", "app"],
                "entrypoint": [f"{binaries}/server"],
                "env": [SEARCH_PATH],
                "user": str(_APP_USER),
            },
            {
                "name": f"{versions.IMAGE_HUB}/ext-authz:{versions.ISTIO}",
                "layers": ["ext-authz"],
                "entrypoint": [f"{binaries}/extauthz"],
            },
            {
                "name": image_in(programs / "jwt-server.yaml", "jwt-server"),
                "layers": ["jwt-server"],
                "entrypoint": ["/bin/jwt-server"],
            },
        ],
    }


def kubernetes_images(folders: Mapping[str, Path], listed: list[str]) -> dict[str, Any]:
    """What `oci-image` is to write for Kubernetes' tests.

    Args:
        folders: of parts by name.
        listed: full names of the images that the tests may use.
    """
    programs, root = folders[kubernetes_workloads().name], folders[ROOT]
    described = {
        AGNHOST: {"layers": ["root", AGNHOST], "entrypoint": ["/agnhost"], "command": ["pause"]},
        BUSYBOX: {"layers": ["root"], "command": ["sh"]},
        "glibc-dns-testing": {"layers": ["root"], "command": ["bash"]},
        "pause": {"layers": [AGNHOST], "entrypoint": ["/agnhost"], "command": ["pause"]},
    }
    kinds = {name: name.rpartition("/")[2].partition(":")[0] for name in listed}
    return {
        "layers": {
            "root": {
                "trees": [{"from": str(root / "root")}],
                "files": [
                    {"text": _USERS, "to": "/etc/passwd", "mode": "644"},
                    {"text": _GROUPS, "to": "/etc/group", "mode": "644"},
                ],
            },
            AGNHOST: {
                "folders": [{"to": "/uploads", "mode": "755"}],
                "files": [
                    *(program(programs / AGNHOST, name) for name in ("/agnhost", "/agnhost-2")),
                    *(_file(programs / f"localhost.{end}", f"/localhost.{end}")
                      for end in ("crt", "key")),
                    program(folders["coredns"] / "coredns", "/coredns"),
                ],
            },
        },
        "images": [
            {"name": name, "env": [SEARCH_PATH], **described[kind]}
            for name, kind in kinds.items()
            if kind in described
        ],
    }  # fmt: skip


def image_in(manifest: Path, name: str) -> str:
    """The full name of an image that a manifest of Istio names, in whatever registry.

    Raises:
        LookupError: it names none that is called so.
    """
    found = re.search(rf"image: (\S*\b{name}:\S+)", manifest.read_text())
    if found is None:
        raise LookupError(f"{manifest} names no image {name}")
    return found[1]


def _file(source: Path, target: str) -> dict[str, str]:
    return {"from": str(source), "to": target, "mode": "644"}


def _described() -> dict[str, str]:
    return {"described": hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}


def _istio_archive() -> Part:
    def build(work: Work) -> None:
        write_archive(work, istio_images(work.needs), what=_WHAT)

    needs = ("image-tools", ROOT, istio_workloads().name)
    return Part(ISTIO_IMAGES, _described(), build, needs=needs)


def _kubernetes_archive() -> Part:
    tests = kubernetes_tests().name

    def build(work: Work) -> None:
        suite = work.needs[tests] / f"{KUBERNETES_SUITE}.test"
        listed = work.run([suite, "--list-images"], what="to list images of Kubernetes' tests")
        write_archive(work, kubernetes_images(work.needs, listed.split()), what=_WHAT)

    needs = ("image-tools", "coredns", ROOT, tests, kubernetes_workloads().name)
    return Part(KUBERNETES_IMAGES, _described(), build, needs=needs)


def ensure_istio(progress: Progress) -> Mapping[str, Built]:
    """The parts that Istio's suites need, built if they are not there yet."""
    own = (
        _root(),
        istio_tests().part(),
        istio_workloads().part(),
        _istio_archive(),
        gobuild.helm().part(),
    )
    return _ensure(("image-tools",), own, progress)


def ensure_kubernetes(progress: Progress) -> Mapping[str, Built]:
    """The parts that Kubernetes' suite needs, built if they are not there yet."""
    own = (_root(), kubernetes_tests().part(), kubernetes_workloads().part(), _kubernetes_archive())
    return _ensure(("image-tools", "coredns"), own, progress)


def _ensure(
    of_labs: tuple[str, ...], own: tuple[Part, ...], progress: Progress
) -> Mapping[str, Built]:
    known = {part.name: part for part in catalog.parts()}
    return Cache(cache_root()).ensure([*(known[name] for name in of_labs), *own], progress)

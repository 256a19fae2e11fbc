"""Releases as their projects publish them: the same files, archives and checksums.

What is in them is built here, of the same versions: Kubernetes' programs are the one that is all of
them, and what calls itself a release of Istio is the project's own build. Only runc is Debian's, as
it is linked with a library that is not there to compile it with.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import catalog, releases, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.folders import link
from mesh_fixtures.artifacts.gobuild import Programs
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.artifacts.releases import Published, Release
from mesh_fixtures.progress import Progress

FILES: Final = "published"
"""The part with a folder for each project."""

RUNTIME: Final = "node-runtime-built"
PLUGINS: Final = "cni-plugins-built"

_MODULES: Final = Path(__file__).parent / "go"
"""Of what Debian's packages bring otherwise; what they need of a third one differs."""


_TREE: Final = ("VERSION", "bin", "go.env", "lib", "pkg", "src")
"""Of Go's toolchain, what compiles."""

_DEBIAN: Final = "debian"

_FASTEST: Final = 1


def runtime() -> Programs:
    """containerd."""
    containerd = "github.com/containerd/containerd"
    programs = ("containerd", "containerd-shim-runc-v2", "ctr")
    return Programs(
        RUNTIME,
        str(_MODULES / "node-runtime"),
        {name: f"{containerd}/cmd/{name}" for name in programs},
        {f"{containerd}/version.Version": versions.CONTAINERD},
    )


def plugins() -> Programs:
    """The CNI plugins of a node."""
    module = "github.com/containernetworking/plugins/plugins"
    folders = {"bridge": "main", "host-local": "ipam", "loopback": "main", "portmap": "meta"}
    return Programs(
        PLUGINS,
        str(_MODULES / "cni-plugins"),
        {name: f"{module}/{folder}/{name}" for name, folder in folders.items()},
    )


def ensure(progress: Progress) -> Mapping[str, Path]:
    """Every file, by project and path; built and packed once."""
    of_labs = {part.name: part for part in (*catalog.parts(), *catalog.on_request())}
    wanted = ("kubernetes", "etcd", "coredns", "metallb", "istio", "helm", "kind", _DEBIAN)
    parts = [*(of_labs[name] for name in wanted), runtime().part(), plugins().part()]
    folder = Cache(cache_root()).ensure([*parts, _packed()], progress)[FILES].folder
    return {
        file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()
    }


def _releases() -> Iterator[tuple[Release, str]]:
    """Each release, and the part that its programs come from, with their folder in it."""
    yield releases.kubernetes(versions.KUBERNETES), "kubernetes"
    yield releases.etcd(), "etcd"
    yield releases.coredns(), "coredns"
    yield releases.metallb(), "metallb"
    yield releases.containerd(), RUNTIME
    yield releases.runc(), f"{_DEBIAN}/node/usr/sbin"
    yield releases.cni_plugins(), PLUGINS
    yield releases.istioctl(versions.ISTIO_RELEASE), "istio"
    yield releases.helm(), "helm"
    yield releases.kind(), "kind"


def _packed() -> Part:
    described = [str(release.inputs) for release, _ in _releases()]

    def build(work: Work) -> None:
        for release, place in _releases():
            part, _, within = place.partition("/")
            folder = work.needs[part] / within
            for file in release.files:
                target = work.into / release.project / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                if file.target:
                    one_for_all = folder / release.project
                    own = folder / Path(file.target).name
                    link(own if own.exists() else one_for_all, target)
                else:
                    _pack(target, {name: folder / Path(name).name for name in file.members})
                _write_checksums(work.into / release.project, file)
        (archive,) = releases.go().files
        target = work.into / "go" / archive.path
        target.parent.mkdir(parents=True)
        _pack(target, {f"go/{name}": _go_root() / name for name in _TREE})
        _write_checksums(work.into / "go", archive)

    return Part(
        FILES,
        {"releases": "\n".join(described), "go": versions.GO, "revision": "2"},
        build,
        needs=tuple(dict.fromkeys(place.partition("/")[0] for _, place in _releases())),
        seconds=600.0,
    )


def _pack(archive: Path, members: Mapping[str, Path]) -> None:
    def without_tests(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        is_test = member.name.endswith("_test.go") or "/testdata" in member.name
        return None if is_test else member

    with tarfile.open(archive, "w:gz", compresslevel=_FASTEST) as made:
        for name, source in members.items():
            made.add(source, name, filter=without_tests)


def _write_checksums(folder: Path, file: Published) -> None:
    """In the form that the project uses: Kubernetes and Go say the digest alone."""
    if not file.checksums:
        return
    with (folder / file.path).open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    alone = folder.name in ("kubernetes", "go")
    line = digest if alone else f"{digest}  {file.name}\n"
    with (folder / file.checksums).open("a") as sums:
        sums.write(line)


def _go_root() -> Path:
    done = subprocess.run(
        ["go", "env", "GOROOT"],
        capture_output=True,
        text=True,
        check=True,
        cwd=_MODULES / "node-runtime",
    )
    return Path(done.stdout.strip())


def path_without_go() -> str:
    """PATH without the folders that have a Go toolchain."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(each for each in folders if not Path(each, "go").exists())

"""All parts that labs are made of."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import (
    debian,
    envoy,
    gobuild,
    images,
    manifests,
    store,
    versions,
)
from mesh_fixtures.artifacts.parts import Part, Work

KUBERNETES_PROGRAMS: Final = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
"""Names under which the one program of Kubernetes is called."""

PROGRAM_PARTS: Final = {"etcd": ("etcd",), "istio": ("istioctl",), "mesh-node": ("mesh-node",)}
"""Programs of nodes and of this machine, by the part that has them."""


def parts(kubernetes: str = versions.KUBERNETES) -> tuple[Part, ...]:
    """Every part, each after those that it needs; in a lane, those first that others wait for.

    Args:
        kubernetes: one of `versions.KUBERNETES` and `versions.OLDER_KUBERNETES`.
    """
    compiled = [programs.part() for programs in gobuild.programs(kubernetes)]
    return (
        debian.root_file_systems(),
        envoy.envoy(),
        *compiled,
        manifests.manifests(),
        images.images(),
        store.store(),
        _programs({part.name for part in compiled}, kubernetes),
    )


def programs_part(kubernetes: str) -> str:
    """Name of the part that has all programs; a folder of its own for each version."""
    return gobuild.kubernetes(kubernetes).name.replace("kubernetes", "programs")


def on_request() -> tuple[Part, ...]:
    """The parts of which only some labs are made, and that are current all the same, after those
    that they need.
    """
    from mesh_fixtures.artifacts import gateway_api, helm

    compiled = [programs.part() for programs in gobuild.programs()]
    names = {part.name for part in compiled}
    older: list[Part] = []
    for version in versions.OLDER_KUBERNETES:
        older += (gobuild.kubernetes(version).part(), _programs(names, version))
    return (gobuild.kind().part(), *helm.parts(), gateway_api.part(), *compiled, *older)


def _programs(compiled: set[str], kubernetes: str) -> Part:
    """One folder with every program that nodes and this machine run, under its own name.

    They are hard links: the folder can be mounted into a node by itself.
    """
    sources = {
        name: part for part, names in PROGRAM_PARTS.items() if part in compiled for name in names
    }

    multiple = gobuild.kubernetes(kubernetes).name

    def build(work: Work) -> None:
        for name, part in ({"kubernetes": multiple} | sources).items():
            _link(work.needs[part] / name, work.into / name)
        for name in KUBERNETES_PROGRAMS:
            (work.into / name).symlink_to("kubernetes")

    return Part(
        name=programs_part(kubernetes),
        inputs={"links": " ".join(KUBERNETES_PROGRAMS), "programs": str(sorted(sources.items()))},
        build=build,
        needs=tuple(sorted({multiple, *sources.values()})),
    )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # A file system without hard links, or a kernel that protects them.
        shutil.copy2(source, target)

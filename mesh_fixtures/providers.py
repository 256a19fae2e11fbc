"""Which provider makes the labs, with what in them, and whether this machine can run it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from mesh_fixtures import supported
from mesh_fixtures.errors import MachineError, MeshConformanceError
from mesh_fixtures.lab.provider import Problem, Provider

if TYPE_CHECKING:
    from mesh_fixtures.charts import Charts
    from mesh_fixtures.images import ImageSet
    from mesh_fixtures.lab.kind.parts import ImageChoice
    from mesh_fixtures.lab.kubeconfig.reference import Reference

Name = Literal["netns", "kind", "kubeconfig"]
PROVIDERS: Final[tuple[Name, ...]] = ("netns", "kind")
"""Those that make clusters."""

KUBECONFIG: Final[Name] = "kubeconfig"
"""Takes clusters that somebody else made."""

ALL_PROVIDERS: Final[tuple[Name, ...]] = (*PROVIDERS, KUBECONFIG)
IMAGES: Final = ("built", "released")
AUTO: Final = "auto"
HELM: Final = "helm"
METHODS: Final = ("istioctl", HELM)
"""How a mesh is installed; the first by default."""

SKIP: Final = "skip"
"""The mesh is there already."""


@dataclass(frozen=True)
class Choice:
    """What somebody asked for.

    Attributes:
        provider: one of `ALL_PROVIDERS`, or `AUTO`.
        images: one of `IMAGES`, or `AUTO`.
        kubernetes: version, or node image of kind; empty for the provider's own choice.
        kubeconfigs: somebody else's clusters.
        helloworld_image: of every version of HelloWorld there; empty for the released ones.
        sleep_image: likewise.
        revision: of the istiod that injects there; empty for the default one.
        install: one of `METHODS`, `SKIP` or `AUTO`.
        charts: where Helm takes Istio's charts from: a folder, or a repository's URL; empty for
            those that belong to the images.
        istioctl: of the released images: a release's version, a file, or a URL; empty for the one
            in PATH.
    """

    provider: str = AUTO
    images: str = AUTO
    kubernetes: str = ""
    kubeconfigs: tuple[Reference, ...] = ()
    helloworld_image: str = ""
    sleep_image: str = ""
    revision: str = ""
    install: str = AUTO
    charts: str = ""
    istioctl: str = ""

    @property
    def method(self) -> str:
        """How clusters that are made get their mesh."""
        return HELM if self.install == HELM else METHODS[0]

    @property
    def chart_source(self) -> str | None:
        """`charts` where Helm installs; None where it does not."""
        return self.charts if self.method == HELM else None

    @property
    def is_foreign(self) -> bool:
        """Whether somebody else's clusters are meant."""
        return self.provider == KUBECONFIG or (self.provider == AUTO and bool(self.kubeconfigs))


@dataclass(frozen=True)
class Chosen:
    """A provider, and why it was chosen."""

    name: Name
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def choose(choice: Choice) -> Chosen:
    """The provider that is asked for, or that fits this machine.

    Raises:
        MachineError: none does; nothing was created.
    """
    if choice.provider != AUTO:
        return Chosen(cast("Name", choice.provider), "as asked")
    if choice.kubeconfigs:
        return Chosen(KUBECONFIG, "auto: kubeconfigs are given")
    return _fitting()


@cache
def _fitting() -> Chosen:
    if not embedded_lacks():
        return Chosen("netns", "auto: root on Linux")
    if sys.platform == "linux":
        from mesh_fixtures.lab.kind import machine

        engine = machine.usable_engine()
        if engine is not None:
            return Chosen("kind", f"auto: not root, {engine.title} answers")
    raise MachineError(
        wanted="a machine for one of the providers",
        seen=f"{sys.platform}, user id {os.geteuid()}, no Docker or Podman that answers",
        where="provider auto",
        remedy="netns needs Linux and root: run the same command with sudo; "
        "kind needs Linux and Docker or Podman: start one, or see "
        "mesh-conformance doctor --provider kind",
    )


def make(choice: Choice) -> Provider:
    """The provider that is asked for.

    Raises:
        MachineError: this kind of machine cannot run it at all, or it cannot do what is asked for.
    """
    name = choose(choice).name
    require_fit(choice)
    if name == "kind":
        return _kind(choice)
    if name == KUBECONFIG:
        return _kubeconfig(choice)
    lacks = embedded_lacks()
    if lacks:
        raise MachineError(
            wanted=lacks[0].missing,
            seen=f"{sys.platform}, user id {os.geteuid()}",
            where="provider netns",
            remedy=lacks[0].remedy,
        )
    return _netns(choice)


def _kind(choice: Choice) -> Provider:
    from mesh_fixtures.lab.kind import KindProvider
    from mesh_fixtures.lab.kind.parts import Wanted

    if not is_image(choice.kubernetes) and choice.kubernetes:
        supported.KUBERNETES.require(
            choice.kubernetes,
            where="--mesh-kubernetes",
            remedy="name a node image for any other version",
        )
    images = cast("ImageChoice", choice.images)
    return KindProvider(Wanted(images, choice.kubernetes, choice.istioctl, choice.chart_source))


def _kubeconfig(choice: Choice) -> Provider:
    from mesh_fixtures.lab.kubeconfig.provider import KubeconfigProvider, sample_images
    from mesh_fixtures.lab.kubeconfig.reference import FORM

    if not choice.kubeconfigs:
        raise MachineError(
            wanted=f"the kubeconfig of each cluster: --mesh-kubeconfig {FORM}",
            seen="none",
            where="provider kubeconfig",
        )
    if choice.images == "built" or choice.kubernetes:
        asked = "--mesh-images built" if choice.images == "built" else "--mesh-kubernetes"
        raise MachineError(
            wanted="clusters and mesh as somebody else made them",
            seen=asked,
            where="provider kubeconfig",
            remedy="leave it out; images of the sample workloads are chosen by "
            "--mesh-helloworld-image and --mesh-sleep-image",
        )
    images = sample_images(choice.helloworld_image, choice.sleep_image)
    return KubeconfigProvider(choice.kubeconfigs, images, choice.revision)


def _netns(choice: Choice) -> Provider:
    from mesh_fixtures.lab.netns import NetnsProvider

    if choice.images == "released" or choice.istioctl:
        asked = "--mesh-istioctl" if choice.istioctl else "--mesh-images released"
        raise MachineError(
            wanted="images that are built on this machine: the embedded lab pulls none",
            seen=asked,
            where="provider netns",
            remedy="use --mesh-provider kind for released images",
        )
    return NetnsProvider(embedded_kubernetes(choice.kubernetes), choice.chart_source)


def embedded_kubernetes(asked: str) -> str:
    """The version that the embedded lab builds for the one that is asked for.

    Args:
        asked: major and minor number, or a full version; empty for the default.

    Raises:
        MachineError: it cannot be built.
    """
    from mesh_fixtures.artifacts import versions

    if not asked:
        return versions.KUBERNETES
    known = (versions.KUBERNETES, *versions.OLDER_KUBERNETES)
    wanted = asked.removeprefix("v")
    for version in known:
        if wanted in (version, version.rpartition(".")[0]):
            return version
    raise MachineError(
        wanted=f"a version of Kubernetes that the embedded lab runs: {', '.join(known)}",
        seen=f"--mesh-kubernetes {asked}",
        where="provider netns",
        remedy="name one of these, or its minor version; or use --mesh-provider kind for others",
    )


def require_fit(choice: Choice) -> None:
    """See to it that what is asked for goes together.

    Raises:
        MachineError: it does not.
    """
    if choice.charts and choice.install != HELM:
        raise MachineError(
            wanted="--mesh-install helm, which installs charts",
            seen="--mesh-charts",
            where="how the mesh is installed",
            remedy="add --mesh-install helm, or leave out --mesh-charts",
        )
    if choice.istioctl and choice.images == "built":
        raise MachineError(
            wanted="released images, which are those of an istioctl",
            seen="--mesh-istioctl with --mesh-images built",
            where="which images run",
            remedy="leave one of them out",
        )


def located(source: str, folder: Path) -> str:
    """A file or folder by its full path; a version or a URL as it is.

    Args:
        folder: what a relative path begins at.
    """
    path = folder / source
    return str(path) if source and "://" not in source and path.exists() else source


def is_image(kubernetes: str) -> bool:
    """Whether `--mesh-kubernetes` names a node image, and not a version."""
    return "/" in kubernetes or ":" in kubernetes


def embedded_lacks() -> Sequence[Problem]:
    """What rules this machine out for the embedded lab before anything else is looked at."""
    if sys.platform != "linux":
        return (Problem("Linux", "run it on a Linux machine"),)
    if os.geteuid() != 0:
        return (Problem("root", "run the same command as root, e.g. with sudo"),)
    return ()


def builds(choice: Choice) -> bool:
    """Whether labs run what is built on this machine.

    Raises:
        MachineError: no provider fits this machine.
    """
    name = choose(choice).name
    if name != "kind":
        return name == "netns"
    from mesh_fixtures.lab.kind.parts import image_source

    return image_source(cast("ImageChoice", choice.images), choice.istioctl) == "built"


def images_of(choice: Choice) -> ImageSet:
    """The image set that labs run, described without building or fetching it.

    Raises:
        ArtifactError: the istioctl that is asked for cannot be fetched.
        MachineError: released images are asked for, and there is no istioctl.
    """
    from mesh_fixtures.artifacts import images, istioctl, released

    require_fit(choice)
    if choice.images != "released" and not choice.istioctl:
        return images.image_set()
    return released.image_set(istioctl.find(choice.istioctl))


def charts_of(choice: Choice) -> Charts | None:
    """What Helm installs, described without building or asking for it; None for istioctl.

    Raises:
        ArtifactError: as `images_of`.
        MachineError: as `images_of`; or charts are not there, or not of one supported release.
    """
    from mesh_fixtures.artifacts import helm_install

    if choice.chart_source is None:
        return None
    return helm_install.describe(choice.chart_source, images_of(choice))


def check_machine(provider: Provider) -> None:
    """See to it that labs can be made here, before anything is created.

    Raises:
        MachineError: something is missing.
    """
    problems = [problem for problem in provider.problems() if not problem.without]
    if problems:
        first, *others = problems
        doctor = f"mesh-conformance doctor --provider {provider.name}"
        if provider.name == KUBECONFIG:
            doctor += " --kubeconfig ..."
        remedy = first.remedy or f"see {doctor}"
        if others:
            remedy += f" ({len(others)} more: {doctor})"
        raise MachineError(
            wanted=first.missing, seen=first.seen, where=f"provider {provider.name}", remedy=remedy
        )


def as_line(error: MeshConformanceError) -> str:
    """The error in one line."""
    return f"{error.where}: needs {error.wanted}; seen: {error.seen}; {error.remedy}"

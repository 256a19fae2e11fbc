"""Which provider makes the labs, with what in them, and whether this machine can run it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab.provider import Problem, Provider

if TYPE_CHECKING:
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
    """

    provider: str = AUTO
    images: str = AUTO
    kubernetes: str = ""
    kubeconfigs: tuple[Reference, ...] = ()
    helloworld_image: str = ""
    sleep_image: str = ""
    revision: str = ""

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

    return KindProvider(cast("ImageChoice", choice.images), choice.kubernetes)


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
    from mesh_fixtures.artifacts import versions
    from mesh_fixtures.lab.netns import NetnsProvider

    if choice.images == "released":
        raise MachineError(
            wanted="images that are built on this machine: the embedded lab pulls none",
            seen="--mesh-images released",
            where="provider netns",
            remedy="use --mesh-provider kind for released images",
        )
    if choice.kubernetes.removeprefix("v") not in ("", versions.KUBERNETES):
        raise MachineError(
            wanted=f"Kubernetes {versions.KUBERNETES}, which the embedded lab runs",
            seen=f"--mesh-kubernetes {choice.kubernetes}",
            where="provider netns",
            remedy="use --mesh-provider kind for other versions",
        )
    return NetnsProvider()


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

    return image_source(cast("ImageChoice", choice.images)) == "built"


def images_of(choice: Choice) -> ImageSet:
    """The image set that labs run, described without building or fetching it.

    Raises:
        MachineError: released images are asked for, and there is no istioctl.
    """
    from mesh_fixtures.artifacts import images, released

    if choice.images != "released":
        return images.image_set()
    istioctl = shutil.which("istioctl")
    if istioctl is None:
        raise MachineError(
            wanted="the istioctl of a release in PATH",
            seen="none",
            where="released images",
            remedy="install istioctl, or use --mesh-images built",
        )
    return released.image_set(Path(istioctl))


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


def as_line(error: MachineError) -> str:
    """The error in one line."""
    return f"{error.where}: needs {error.wanted}; seen: {error.seen}; {error.remedy}"

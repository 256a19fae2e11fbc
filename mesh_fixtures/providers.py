"""Which provider makes the labs, and whether this machine can run it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab.provider import Problem, Provider

if TYPE_CHECKING:
    from mesh_fixtures.images import ImageSet


def make(name: str = "auto") -> Provider:
    """The provider of that name.

    Raises:
        MachineError: this kind of machine cannot run it at all.
    """
    unfit = unfitness()
    if unfit:
        raise MachineError(
            wanted=unfit[0].missing,
            seen=f"{sys.platform}, user id {os.geteuid()}",
            where=f"provider {'netns' if name == 'auto' else name}",
            remedy=unfit[0].remedy,
        )
    from mesh_fixtures.lab.netns import NetnsProvider

    return NetnsProvider()


def unfitness() -> Sequence[Problem]:
    """What rules this machine out before anything else is looked at."""
    if sys.platform != "linux":
        return (Problem("Linux", "run it on a Linux machine"),)
    if os.geteuid() != 0:
        return (Problem("root", "run the same command as root, e.g. with sudo"),)
    return ()


def images_of() -> ImageSet:
    """The image set that labs run, described without building or fetching it."""
    from mesh_fixtures.artifacts.images import image_set

    return image_set()


def check_machine(provider: Provider) -> None:
    """See to it that labs can be made here, before anything is created.

    Raises:
        MachineError: something is missing.
    """
    problems = provider.problems()
    if problems:
        first, *others = problems
        remedy = first.remedy or "see mesh-conformance doctor"
        if others:
            remedy += f" ({len(others)} more: mesh-conformance doctor)"
        raise MachineError(
            wanted=first.missing, seen="none", where=f"provider {provider.name}", remedy=remedy
        )


def as_line(error: MachineError) -> str:
    """The error in one line."""
    return f"{error.where}: needs {error.wanted}; seen: {error.seen}; {error.remedy}"

"""The versions of Istio that are built here, by the names that they call themselves."""

from __future__ import annotations

from typing import Final

from mesh_fixtures.artifacts import versions
from mesh_fixtures.errors import MachineError

MODULE: Final = "istio.io/istio"


def version_of(asked: str) -> str:
    """The version that is meant.

    Args:
        asked: its name, its commit, or the version of its Go module; empty for the default.

    Raises:
        MachineError: it is none of those that are built.
    """
    version = _named(asked) if asked else versions.ISTIO
    if version:
        return version
    raise MachineError(
        wanted=f"a version of Istio that is built here: {', '.join(names())}",
        seen=f"--mesh-istio {asked}",
        where="images that are built",
        remedy="name one of these, or its commit; a release is chosen by --mesh-istioctl",
    )


def names() -> tuple[str, ...]:
    """The versions that are built here, the default first."""
    return tuple(versions.ISTIO_MODULES)


def is_built(asked: str) -> bool:
    """Whether one of the versions that are built here is meant, as `version_of` understands it."""
    return bool(_named(asked))


def _named(asked: str) -> str:
    """The version of that name, commit or module version; empty for none."""
    found = (
        version
        for version, module in versions.ISTIO_MODULES.items()
        if asked in (version, commit_of(version), module)
    )
    return next(found, "")


def commit_of(version: str) -> str:
    """The commit that a version is built from."""
    return version.rpartition(".")[2]


def semantic(version: str) -> str:
    """The release in the form that istiod compares with: major, minor and patch."""
    return ".".join([*version.partition("-")[0].split("."), "0"][:3])


def part_name(part: str, version: str) -> str:
    """Name of a part that depends on Istio's version; another version than the default has parts
    beside those of the default.
    """
    return part if version == versions.ISTIO else f"{part}-{commit_of(version)}"


def requirements(version: str) -> str:
    """Name of the go.mod that a version is built from; its go.sum differs by the end alone."""
    return "go.mod" if version == versions.ISTIO else f"{commit_of(version)}.mod"

"""Debian packages of the container engine and of nodes, unpacked and never installed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import debian, versions
from mesh_fixtures.artifacts.folders import remove
from mesh_fixtures.artifacts.parts import Part, Work
from tests.kind_environment.world import Engine

NAME: Final = "kind-packages"

TREES: Final = {"engine": ("docker.io",), "node": ("conntrack", "ethtool", "systemd")}
"""What each folder of the part holds, with all that it depends on."""

PODMAN: Final = "kind-podman"
PODMAN_TREES: Final = {"engine": ("aardvark-dns", "netavark", "podman")}

OF_ENGINE: Final[Mapping[Engine, str]] = {"docker": NAME, "podman": PODMAN}
"""The part with an engine's programs."""

_LEFT_OUT: Final = ("etc/init.d", "usr/share")


def packages() -> Part:
    """The part with a folder for each of `TREES`.

    They are layers above the folders of `debian.root_file_systems`, whose packages they lack.
    """
    return _part(NAME, TREES)


def podman() -> Part:
    """The part with a folder for each of `PODMAN_TREES`, which are layers like the others."""
    return _part(PODMAN, PODMAN_TREES)


def lowers_of_engine(folders: Mapping[str, Path], engine: Engine) -> list[str]:
    """Layers of the root in which an engine runs.

    Args:
        folders: of the parts, by name.
    """
    debian = folders["debian"]
    layers = (folders[OF_ENGINE[engine]] / "engine", debian / "node", debian / "base")
    return [str(layer) for layer in layers]


def _part(name: str, trees: Mapping[str, Sequence[str]]) -> Part:
    return Part(
        name=name,
        inputs={
            "suite": versions.DEBIAN_SUITE,
            "trees": str(sorted(trees.items())),
            "left out": " ".join(_LEFT_OUT),
            "revision": "1",
        },
        build=lambda work: _build(work, trees),
        needs=("debian",),
        lane="packages",
        seconds=600.0,
    )


def _build(work: Work, trees: Mapping[str, Sequence[str]]) -> None:
    apt = debian.private_apt(work, *options_for(work.needs["debian"] / "base"))
    there = set(_closure(work, apt, debian.NODE_PACKAGES))
    for tree, wanted in trees.items():
        names = [name for name in _closure(work, apt, wanted) if name not in there]
        downloads = work.scratch / tree
        debian.download(work, apt, names, downloads)
        debian.unpack(work, downloads, work.into / tree)
        for folder in _LEFT_OUT:
            remove(work.into / tree / folder)


def options_for(root: Path) -> tuple[str, ...]:
    """apt's options by which it resolves for another root file system, from that one's sources."""
    etc = root / "etc/apt"
    return (
        f"Dir::State::status={root / 'var/lib/dpkg/status'}",
        f"Dir::Etc::sourcelist={etc / 'sources.list'}",
        f"Dir::Etc::sourceparts={etc / 'sources.list.d'}",
    )


def _closure(work: Work, apt: Sequence[str], wanted: Sequence[str]) -> list[str]:
    told = work.run(
        [*apt, "--simulate", "--no-install-recommends", "install", *wanted],
        what=f"to resolve the Debian packages {', '.join(wanted)}",
        remedy=debian.REMEDY,
    )
    return to_install(told)


def to_install(simulation: str) -> list[str]:
    """Names of the packages that `apt-get --simulate install` would install, in its order."""
    return re.findall(r"^Inst (\S+)", simulation, re.MULTILINE)

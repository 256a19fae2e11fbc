"""What kind needs of a machine; looked at before anything is made."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mesh_fixtures.errors import LabError
from mesh_fixtures.lab.kind.engine import NAMES, Engine, chosen
from mesh_fixtures.lab.provider import Problem

_DISK_NEEDED: Final = 6 * 2**30
_INOTIFY: Final = Path("/proc/sys/fs/inotify")
INSTANCES_OF_NODE: Final = 25
"""inotify instances that systemd, containerd, the kubelet and the pods of a node use."""

WATCHES_OF_NODE: Final = 2000
_SMALLEST_LAB: Final = 2
"""Nodes."""


def usable_engine() -> Engine | None:
    """The first engine that answers; None where none does."""
    return next((engine for engine in chosen() if not engine.problems()), None)


def problems() -> list[Problem]:
    """What this machine lacks, most basic first; nothing is changed."""
    if sys.platform != "linux":
        return [Problem(f"Linux (this is {sys.platform})", "run it on a Linux machine")]
    found = []
    if find_spec("pytest_kind") is None:
        remedy = "pip install 'mesh-conformance[kind]'"
        found.append(Problem("the Python package pytest-kind", remedy))
    engine = usable_engine()
    if engine is None:
        return [*found, *_why_no_engine()]
    return [*found, *_disk_problems(engine), *inotify_problems(_SMALLEST_LAB)]


def _why_no_engine() -> list[Problem]:
    engines = chosen()
    if not engines:
        valid = " or ".join(NAMES)
        return [Problem(f"one of kind's engines, {valid}", "unset KIND_EXPERIMENTAL_PROVIDER")]
    installed = [engine for engine in engines if shutil.which(engine.name)]
    if not installed:
        titles = " or ".join(engine.title for engine in engines)
        return [Problem(titles, f"install {titles} and start it")]
    return [problem for engine in installed for problem in engine.problems()]


def _disk_problems(engine: Engine) -> list[Problem]:
    try:
        folder = Path(engine.storage())
    except LabError as error:
        return [Problem(f"the folder of {engine.title}'s containers ({error.seen})", "")]
    if not folder.exists():
        return []  # another machine's, or not ours to see
    free = shutil.disk_usage(folder).free
    if free >= _DISK_NEEDED:
        return []
    wanted, seen = f"{_DISK_NEEDED / 2**30:.0f} GiB", f"{free / 2**30:.1f} GiB"
    lacking = f"{wanted} free at {folder}; there are {seen}"
    return [Problem(lacking, f"{engine.name} system prune, or a larger disk")]


def inotify_problems(nodes: int, limits: Path = _INOTIFY) -> list[Problem]:
    """What this machine's limits of file watches lack for so many nodes.

    Source: kind, "Known Issues: Pod errors due to too many open files". The limits count by user,
    and other programs of the same user have their share.
    """
    used = _instances_in_use()
    needs = {
        "max_user_instances": used + nodes * INSTANCES_OF_NODE,
        "max_user_watches": nodes * WATCHES_OF_NODE,
    }
    found = []
    for name, needed in needs.items():
        try:
            limit = int((limits / name).read_text())
        except (OSError, ValueError):
            continue
        if limit < needed:
            lacking = f"fs.inotify.{name} of at least {needed} for {nodes} nodes; it is {limit}"
            found.append(Problem(lacking, f"sysctl fs.inotify.{name}={_rounded(needed)}"))
    return found


def _rounded(needed: int) -> int:
    """What kind's documentation recommends, or more."""
    return max(512, 2 * needed)


def _instances_in_use(proc: Path = Path("/proc")) -> int:
    """Inotify instances of this user's processes, as far as they can be seen."""
    count = 0
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            if process.stat().st_uid != os.geteuid():
                continue
            links: Sequence[Path] = list((process / "fd").iterdir())
        except OSError:
            continue
        for link in links:
            try:
                count += str(link.readlink()) == "anon_inode:inotify"
            except OSError:
                continue
    return count

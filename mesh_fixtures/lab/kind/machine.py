"""What kind needs of a machine; looked at before anything is made."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mesh_fixtures.contract import Problem
from mesh_fixtures.errors import LabError
from mesh_fixtures.lab import inotify
from mesh_fixtures.lab.kind.engine import NAMES, Engine, chosen

_DISK_NEEDED: Final = 6 * 2**30
_INSTANCES_OF_NODE: Final = 25
"""inotify instances of systemd, containerd, the kubelet and the pods of a node."""

_SMALLEST_LAB: Final = 2
"""Nodes."""


def usable_engine() -> Engine | None:
    """The first engine that answers; None where none does."""
    return next((engine for engine in chosen() if not engine.problems()), None)


def problems(nodes: int = _SMALLEST_LAB) -> list[Problem]:
    """What is missing on this machine for so many nodes, most basic first; nothing is changed."""
    if sys.platform != "linux":
        return [Problem(f"Linux (this is {sys.platform})", "run it on a Linux machine")]
    found = []
    if find_spec("pytest_kind") is None:
        remedy = "pip install 'mesh-conformance[kind]'"
        found.append(Problem("the Python package pytest-kind", remedy))
    engine = usable_engine()
    if engine is None:
        return [*found, *_why_no_engine()]
    return [*found, *_disk_problems(engine), *inotify.problems(nodes, _INSTANCES_OF_NODE)]


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
    wanted_space = f"{wanted} free at {folder}; there are {seen}"
    return [Problem(wanted_space, f"{engine.name} system prune, or a larger disk")]

"""This machine's limits of file watches, which nodes and their pods share.

Source: inotify(7), "/proc interfaces"; kind, "Known Issues: Pod errors due to too many open files".
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from mesh_fixtures.lab.provider import Problem

_LIMITS: Final = Path("/proc/sys/fs/inotify")
_WATCHES_OF_NODE: Final = 2000
_RECOMMENDED_INSTANCES: Final = 512


def problems(nodes: int, instances_of_node: int, limits: Path = _LIMITS) -> list[Problem]:
    """What the limits lack for so many nodes; they count by user, and others have their share.

    Args:
        instances_of_node: inotify instances that a node's processes of this user hold.
    """
    needs = {
        "max_user_instances": _instances_in_use() + nodes * instances_of_node,
        "max_user_watches": nodes * _WATCHES_OF_NODE,
    }
    found = []
    for name, needed in needs.items():
        try:
            limit = int((limits / name).read_text())
        except (OSError, ValueError):
            continue
        if limit < needed:
            lacking = f"fs.inotify.{name} of at least {needed} for {nodes} nodes; it is {limit}"
            better = max(_RECOMMENDED_INSTANCES, 2 * needed)
            found.append(Problem(lacking, f"sysctl fs.inotify.{name}={better}"))
    return found


def _instances_in_use(proc: Path = Path("/proc")) -> int:
    """Inotify instances of this user's processes, as far as they can be seen."""
    count = 0
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            if process.stat().st_uid != os.geteuid():
                continue
            links = list((process / "fd").iterdir())
        except OSError:
            continue
        for link in links:
            try:
                count += str(link.readlink()) == "anon_inode:inotify"
            except OSError:
                continue
    return count

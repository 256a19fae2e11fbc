"""This machine's limits of file watches, which nodes and their pods share.

The kernel counts them by user, over all processes of the machine: those of all nodes and their pods
that run as root, and, apart from them, those of all proxies of all labs, which run as one user.

Source: inotify(7), "/proc interfaces"; kind, "Known Issues: Pod errors due to too many open files".
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from mesh_fixtures.contract import Problem

_LIMITS: Final = Path("/proc/sys/fs/inotify")
_WATCHES_OF_NODE: Final = 2000
_RECOMMENDED_INSTANCES: Final = 512

_ROOT: Final = 0
_PROXY: Final = 1337
"""The user of Istio's proxies and of istiod, whatever made their images."""

_INSTANCES_OF_PROXIES: Final = 14
"""On a node: istiod holds 1, two gateways 2 each, HelloWorld's and Sleep's sidecars 3 each; another
3 are for a sidecar that starts while an old one ends."""


def problems(
    nodes: int, instances_of_node: int, limits: Path = _LIMITS, proc: Path = Path("/proc")
) -> list[Problem]:
    """What the limits lack for so many more nodes; those that run already have their share.

    Args:
        instances_of_node: inotify instances that a node's processes hold, but for its proxies.
    """
    try:
        most_instances = int((limits / "max_user_instances").read_text())
        most_watches = int((limits / "max_user_watches").read_text())
    except (OSError, ValueError):
        return []
    found = []
    in_use = _instances_in_use(proc)
    wanted = {_ROOT: nodes * instances_of_node, _PROXY: nodes * _INSTANCES_OF_PROXIES}
    needs = {user: in_use[user] + more for user, more in wanted.items()}
    short = {user: needed for user, needed in needs.items() if needed > most_instances}
    if short:
        name = "fs.inotify.max_user_instances"
        users = ", ".join(
            f"{needed} for user {user}, who holds {in_use[user]}" for user, needed in short.items()
        )
        better = max(_RECOMMENDED_INSTANCES, 2 * max(short.values()))
        found.append(
            Problem(
                f"{name} of at least {max(short.values())} for {nodes} nodes ({users})",
                f"sysctl {name}={better}",
                seen=str(most_instances),
            )
        )
    watches = nodes * _WATCHES_OF_NODE
    if watches > most_watches:
        name = "fs.inotify.max_user_watches"
        found.append(
            Problem(
                f"{name} of at least {watches} for {nodes} nodes",
                f"sysctl {name}={2 * watches}",
                seen=str(most_watches),
            )
        )
    return found


def _instances_in_use(proc: Path) -> Counter[int]:
    """Inotify instances by user, of the processes that can be seen."""
    count: Counter[int] = Counter()
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            user = process.stat().st_uid
            links = list((process / "fd").iterdir())
        except OSError:
            continue
        for link in links:
            try:
                count[user] += str(link.readlink()) == "anon_inode:inotify"
            except OSError:
                continue
    return count

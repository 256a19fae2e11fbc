"""What the embedded lab needs of a machine; looked at before anything is made."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys
from pathlib import Path

from mesh_fixtures.contract import Problem
from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab import inotify
from mesh_fixtures.lab.netns import cgroups, modules

_PROGRAMS = {"nsenter": "util-linux", "unshare": "util-linux"}
_CAP_SYS_ADMIN = 21
_CAP_NET_ADMIN = 12
_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")
"""What a node needs of version 1."""

_SMALLEST_LAB = 2
"""Nodes."""

_WATCHERS_OF_NODE = 16
"""inotify instances of root: a control plane's node holds 15, of them the kubelet 6, the controller
manager 4 and the API server 3."""


def problems(nodes: int = _SMALLEST_LAB) -> list[Problem]:
    """What this machine lacks for so many nodes, most basic first; nothing is changed."""
    if platform.system() != "Linux":
        return [Problem(f"Linux (this is {platform.system()})", "")]
    if os.geteuid() != 0:
        seen = f"{sys.platform}, user id {os.geteuid()}"
        return [Problem("root", "run it as root, e.g. with sudo", seen)]
    found = []
    for capability, name in ((_CAP_SYS_ADMIN, "CAP_SYS_ADMIN"), (_CAP_NET_ADMIN, "CAP_NET_ADMIN")):
        if not _has_capability(capability):
            found.append(Problem(f"the capability {name}", "run outside an unprivileged container"))
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            found.append(Problem(f"the program {program}", f"apt-get install -y {package}"))
    found += control_group_problems()
    return [*found, *modules.problems(), *inotify.problems(nodes, _WATCHERS_OF_NODE)]


def control_group_problems(mount: Path = cgroups.MOUNT) -> list[Problem]:
    """What the control groups of this machine, or container, lack.

    Args:
        mount: where they are.
    """
    if not mount.is_dir():
        return [Problem(f"control groups at {mount}", "")]
    if cgroups.is_version_2(mount):
        missing = cgroups.missing_controllers(mount)
    else:
        missing = [name for name in _CONTROLLERS if not (mount / name).is_dir()]
    if missing:
        remedy = "enable them on the kernel's command line, or for this container"
        return [Problem(f"cgroup controllers {', '.join(missing)}", remedy)]
    if not os.access(mount / "cgroup.subtree_control", os.W_OK) and cgroups.is_version_2(mount):
        remedy = f"mount {mount} writable, e.g. by docker run --privileged"
        return [Problem("control groups that can be written", remedy, seen=f"{mount} read-only")]
    return []


def require_machine(nodes: int) -> None:
    """Check `problems`.

    Raises:
        MachineError: there is one.
    """
    found = problems(nodes)
    if found:
        raise MachineError(
            wanted="a machine that can run the embedded lab",
            seen="; ".join(f"{p.missing} is missing" for p in found),
            where=platform.node() or "this machine",
            remedy="; ".join(p.remedy for p in found if p.remedy),
        )


def _has_capability(number: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    pr_capbset_read = 23
    return bool(libc.prctl(pr_capbset_read, number, 0, 0, 0) == 1)

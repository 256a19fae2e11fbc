"""What the embedded lab needs of a machine; looked at before anything is made."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from pathlib import Path

from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab import inotify
from mesh_fixtures.lab.netns import cgroups
from mesh_fixtures.lab.provider import Problem

_PROGRAMS = {"nsenter": "util-linux", "unshare": "util-linux"}
_CAP_SYS_ADMIN = 21
_CAP_NET_ADMIN = 12
_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")
_WATCHERS_OF_NODE = 13
"""inotify instances of the kubelet, the API server, kube-proxy, containerd and pods that run as
root."""
_BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def problems() -> list[Problem]:
    """What this machine lacks, most basic first; nothing is changed."""
    if platform.system() != "Linux":
        return [Problem(f"Linux (this is {platform.system()})", "")]
    if os.geteuid() != 0:
        return [Problem("root", "run it as root, e.g. with sudo")]
    found = []
    for capability, name in ((_CAP_SYS_ADMIN, "CAP_SYS_ADMIN"), (_CAP_NET_ADMIN, "CAP_NET_ADMIN")):
        if not _has_capability(capability):
            found.append(Problem(f"the capability {name}", "run outside an unprivileged container"))
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            found.append(Problem(f"the program {program}", f"apt-get install -y {package}"))
    if not cgroups.MOUNT.is_dir():
        found.append(Problem(f"control groups at {cgroups.MOUNT}", ""))
    else:
        found += _control_group_problems()
    if not _BRIDGE_FILTER.exists():
        found.append(Problem("the kernel module br_netfilter", "modprobe br_netfilter"))
    if "overlay" not in Path("/proc/filesystems").read_text():
        found.append(Problem("the overlay file system", "modprobe overlay"))
    return found


def _control_group_problems() -> list[Problem]:
    if cgroups.is_version_2():
        present = (cgroups.MOUNT / "cgroup.controllers").read_text().split()
        missing = [name for name in cgroups.CONTROLLERS if name not in present]
    else:
        missing = [name for name in _CONTROLLERS if not (cgroups.MOUNT / name).is_dir()]
    if missing:
        remedy = "enable them on the kernel's command line, or for this container"
        return [Problem(f"cgroup controllers {', '.join(missing)}", remedy)]
    if cgroups.is_version_2() and cgroups.is_own_root_busy():
        remedy = "run it outside the container, or with the machine's own cgroup namespace"
        return [Problem("a control group root without processes", remedy)]
    return []


def require_machine(nodes: int) -> None:
    """Check `problems`, and the limits that depend on the number of nodes.

    Raises:
        MachineError: there is one.
    """
    found = [*problems(), *inotify.problems(nodes, _WATCHERS_OF_NODE)]
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

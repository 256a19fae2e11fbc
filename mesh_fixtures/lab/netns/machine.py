"""What the embedded lab needs of a machine; looked at before anything is made.

Nothing is changed, except that kernel modules are loaded which the kernel does not load by itself
when nodes use them. They stay loaded: whatever else has come to use them meanwhile must not lose
them (modprobe(8)).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from mesh_fixtures import runner
from mesh_fixtures.contract import Problem
from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab import inotify
from mesh_fixtures.lab.netns import cgroups
from mesh_fixtures.patience import patient

_PROGRAMS = {"nsenter": "util-linux", "unshare": "util-linux"}
_CAP_SYS_ADMIN = 21
_CAP_NET_ADMIN = 12
_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")
"""What a node needs of version 1."""

_MODULES = ("br_netfilter", "overlay")
_PROC = Path("/proc")
_BRIDGE = "sys/net/bridge"
_MODPROBE_DEADLINE = 20.0
_TRANSLATION = Path(__file__).with_name("ipv6_translation.py")
_TRANSLATION_DEADLINE = 20.0
_IPV6_IMPACT = "a topology with IPv6 in `ipFamilies`"

_SMALLEST_LAB = 2
"""Nodes."""

_WATCHERS_OF_NODE = 16
"""inotify instances of root: a control plane's node holds 15, of them the kubelet 6, the controller
manager 4 and the API server 3."""


def problems(nodes: int = _SMALLEST_LAB) -> list[Problem]:
    """What is missing on this machine for so many nodes, most basic first; nothing is changed."""
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
    return [*found, *module_problems(), *inotify.problems(nodes, _WATCHERS_OF_NODE)]


def ipv6_problems(proc: Path = _PROC) -> list[Problem]:
    """What is missing on this machine for labs of IPv6, and for nothing else, as far as that shows
    at a glance; nothing is changed.

    Args:
        proc: where the kernel says what it has.
    """
    if (proc / "sys/net/ipv6").is_dir():
        return []
    remedy = "start the kernel without ipv6.disable=1, or one that has IPv6"
    return [Problem("IPv6 in the kernel", remedy, impact=_IPV6_IMPACT)]


def ipv6_translation_problems() -> list[Problem]:
    """The same, found by having the kernel translate addresses in a network namespace that is gone
    then; the kernel may load modules for it.
    """
    done = runner.run(
        ["unshare", "--net", sys.executable, "-I", str(_TRANSLATION)],
        seconds=patient(_TRANSLATION_DEADLINE),
    )
    if done.status == 0:
        return []
    last = (done.errors.strip().splitlines() or [done.trouble])[-1]
    remedy = "modprobe nf_tables nft_chain_nat, on the machine itself if this is a container"
    wanted = "translation of IPv6 addresses by nftables in the kernel"
    return [Problem(wanted, remedy, seen=last, impact=_IPV6_IMPACT)]


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


def missing_modules(proc: Path = _PROC) -> Sequence[str]:
    """Names of the modules whose function this kernel does not have yet, built in or loaded."""
    present = {
        "br_netfilter": (proc / _BRIDGE / "bridge-nf-call-iptables").exists(),
        "overlay": "overlay" in (proc / "filesystems").read_text().split(),
    }
    return [name for name in _MODULES if not present[name]]


def module_problems() -> list[Problem]:
    """Modules that are missing and cannot be loaded from here; nothing is changed."""
    return [
        Problem(
            f"the kernel module {name}",
            f"modprobe {name}, on the machine itself if this is a container",
        )
        for name in missing_modules()
        if not _modprobe(name, "--dry-run")
    ]


def require_machine(nodes: int, *, ipv6: bool = False) -> None:
    """Check `problems`; where labs are to have IPv6, `ipv6_problems` and
    `ipv6_translation_problems`, too.

    Raises:
        MachineError: there is one.
    """
    found = problems(nodes)
    if ipv6 and not found:
        found = ipv6_problems() or ipv6_translation_problems()
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


def load_modules(proc: Path = _PROC) -> Sequence[str]:
    """Load what is missing, as far as that can be done from here; returns what was loaded.

    The machine's own bridges go on to work as before: filtering what passes them, which is on once
    the module br_netfilter is there, is turned off again in this network namespace
    (Linux: "/proc/sys/net/bridge/*").
    """
    loaded = [name for name in missing_modules(proc) if _modprobe(name)]
    if "br_netfilter" in loaded:
        for switch in (proc / _BRIDGE).glob("bridge-nf-call-*"):
            with contextlib.suppress(OSError):
                switch.write_text("0")
    return loaded


def _modprobe(name: str, *options: str) -> bool:
    program = shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return False
    done = runner.run([program, "--quiet", *options, name], seconds=patient(_MODPROBE_DEADLINE))
    return done.status == 0

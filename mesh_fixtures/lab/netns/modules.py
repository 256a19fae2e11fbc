"""Kernel modules that nodes need and that the kernel does not load by itself when they are used.

They stay loaded: whatever else has come to use them meanwhile must not lose them (modprobe(8)).
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mesh_fixtures import runner
from mesh_fixtures.contract import Problem
from mesh_fixtures.patience import patient

_PROC: Final = Path("/proc")
_BRIDGE: Final = "sys/net/bridge"
_SECONDS: Final = 20.0
_NAMES: Final = ("br_netfilter", "overlay")


def missing(proc: Path = _PROC) -> Sequence[str]:
    """Names of the modules whose function this kernel does not have yet, built in or loaded."""
    present = {
        "br_netfilter": (proc / _BRIDGE / "bridge-nf-call-iptables").exists(),
        "overlay": "overlay" in (proc / "filesystems").read_text().split(),
    }
    return [name for name in _NAMES if not present[name]]


def problems() -> list[Problem]:
    """Modules that are missing and cannot be loaded from here; nothing is changed."""
    return [
        Problem(
            f"the kernel module {name}",
            f"modprobe {name}, on the machine itself if this is a container",
        )
        for name in missing()
        if not _modprobe(name, "--dry-run")
    ]


def load(proc: Path = _PROC) -> Sequence[str]:
    """Load what is missing, as far as that can be done from here; returns what was loaded.

    The machine's own bridges go on to work as before: filtering what passes them, which is on once
    the module br_netfilter is there, is turned off again in this network namespace
    (Linux: "/proc/sys/net/bridge/*").
    """
    loaded = [name for name in missing(proc) if _modprobe(name)]
    if "br_netfilter" in loaded:
        for switch in (proc / _BRIDGE).glob("bridge-nf-call-*"):
            with contextlib.suppress(OSError):
                switch.write_text("0")
    return loaded


def _modprobe(name: str, *options: str) -> bool:
    program = shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return False
    done = runner.run([program, "--quiet", *options, name], seconds=patient(_SECONDS))
    return done.status == 0

#!/usr/bin/python3 -IS
"""Stands between Docker and runc: asks for no capability that this machine does not grant.

For a privileged container Docker asks for all capabilities that the kernel knows, and runc fails
where one of them cannot be had. Docker calls this as its OCI runtime.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RUNC = "/usr/sbin/runc"

# in the order of their numbers (linux/capability.h)
CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
    "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip


def granted(status: str) -> frozenset[str]:
    """The capabilities that a process may have at most.

    Args:
        status: content of /proc/PID/status (proc(5)).

    Raises:
        ValueError: it does not say.
    """
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    if found is None:
        raise ValueError("the status of the process has no line CapBnd")
    bits = int(found[1], 16)
    return frozenset(name for number, name in enumerate(CAPABILITIES) if bits >> number & 1)


def restrict(process: dict[str, Any], allowed: frozenset[str]) -> dict[str, Any]:
    """A process, as the OCI runtime specification has it, with no capability beyond these."""
    capabilities = process.get("capabilities")
    if not capabilities:
        return process
    kept = {
        kind: [name for name in names if name in allowed] for kind, names in capabilities.items()
    }
    return {**process, "capabilities": kept}


def option(arguments: Sequence[str], *names: str) -> str | None:
    """The value of an option, written as `--name value` or `--name=value`; None without it."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in names:
            return value if equals else next(iter(arguments[place + 1 :]), None)
    return None


def main(arguments: Sequence[str]) -> None:
    allowed = granted(Path("/proc/self/status").read_text())
    bundle = option(arguments, "--bundle", "-b")
    if bundle is not None and "create" in arguments:
        file = Path(bundle, "config.json")
        specification = json.loads(file.read_text())
        specification["process"] = restrict(specification["process"], allowed)
        file.write_text(json.dumps(specification))
    process = option(arguments, "--process", "-p")
    if process is not None and "exec" in arguments:
        file = Path(process)
        file.write_text(json.dumps(restrict(json.loads(file.read_text()), allowed)))
    os.execv(RUNC, [RUNC, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])

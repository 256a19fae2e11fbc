"""Starts the environment in namespaces of its own, and removes what outlives its processes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts.command import dying_with_this_thread
from mesh_fixtures.artifacts.folders import remove
from mesh_fixtures.lab.netns import cgroups
from tests.kind_environment import waiting
from tests.kind_environment.world import World

PROJECT: Final = Path(__file__).parents[2]
CGROUP: Final = "mesh-kind-environment"
"""Begins the names of control groups."""

CLEANING_DEADLINE: Final = 60.0


def command_of(world: World) -> list[str]:
    """What starts an environment.

    When its parent ends, in whatever way, the kernel kills the first process of the new process
    namespace, and with that one all others; network and mounts go with them.
    """
    return [
        *dying_with_this_thread(),
        *("unshare", "--mount", "--propagation", "private", "--net", "--pid", "--mount-proc"),
        *("--fork", "--kill-child=KILL", "--"),
        *("env", f"--chdir={PROJECT}", sys.executable, "-m", "tests.kind_environment.inside"),
        world.to_json(),
    ]


def run(world: World) -> int:
    """Run the environment to the end of its command; returns its exit status."""
    command = command_of(world)
    waiting.block()
    pid = os.posix_spawnp(command[0], command, os.environ, setsigmask=[])
    return waiting.wait_for(pid, lambda: _only_child(pid))


def clean(folder: Path, cgroup: str) -> None:
    """Remove what an environment left on disk and of control groups.

    Its processes may still be ending: the kernel kills them when the outer process dies, and takes
    a moment for it.

    Raises:
        LabError: a control group cannot be removed in time.
        OSError: the folder cannot be removed in time.
    """
    end = time.monotonic() + CLEANING_DEADLINE
    cgroups.remove(cgroup, deadline=CLEANING_DEADLINE)
    while True:
        try:
            remove(folder)
            return
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def _only_child(pid: int) -> int | None:
    """The process that unshare waits for (proc(5): children)."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None

"""The first process inside: sets the environment up, runs the command, and reaps what is orphaned.

When it ends, the kernel ends every other process of its process namespace.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from pyroute2 import IPRoute

from mesh_fixtures.errors import MeshConformanceError
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress
from mesh_fixtures.progress.display import Display
from tests.kind_environment import docker, mounts, podman, waiting
from tests.kind_environment.engine import Started
from tests.kind_environment.status import INTERRUPTED, NO_SUCH_COMMAND, UNAVAILABLE
from tests.kind_environment.terminal import say
from tests.kind_environment.world import World


def main(world: World) -> int:
    """Run the command; returns its exit status."""
    display = Display(say)
    try:
        with interruption.holding(), Progress("kind environment", display).phase(world.engine):
            started = _set_up(world)
    except MeshConformanceError as error:
        say(str(error))
        return UNAVAILABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        display.close()
    return _run(world, started)


def _set_up(world: World) -> Started:
    with IPRoute() as links:
        links.link("set", index=socket.if_nametoindex("lo"), state="up")
    mounts.fresh_run()
    if world.store and world.engine == "docker":
        docker.share_store(Path(world.store), world.docker_root)
    root = mounts.engine_root(Path(world.folder), world.lowers)
    return podman.start(world, root) if world.engine == "podman" else docker.start(world, root)


def _run(world: World, started: Started) -> int:
    def tell(pid: int) -> None:
        if pid == started.process.pid:
            say(f"kind environment: {started.name} has ended\n{started.tail()}")

    environment = {**os.environ, **world.environment}
    environment = {name: value for name, value in environment.items() if value}
    os.chdir(world.directory)
    waiting.block()
    if waiting.PASSED & signal.sigpending():
        return INTERRUPTED
    os.environ["PATH"] = environment.get("PATH", os.defpath)  # where posix_spawnp looks
    try:
        pid = os.posix_spawnp(
            world.command[0],
            world.command,
            environment,
            setsigmask=[],
            setsigdef=[*waiting.PASSED, signal.SIGPIPE],
        )
    except OSError as error:
        say(f"kind environment: {world.command[0]}: {error.strerror}")
        return NO_SUCH_COMMAND
    return waiting.wait_for(pid, lambda: pid, tell)


if __name__ == "__main__":
    sys.exit(main(World.from_json(sys.argv[1])))

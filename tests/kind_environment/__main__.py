"""Runs a command where a real container engine, Docker or Podman, can make kind clusters.

usage: python -m tests.kind_environment [--engine docker|podman] -- COMMAND [ARGUMENT...]
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

from filelock import FileLock, Timeout

from mesh_fixtures.artifacts.cache import Cache, Entry, cache_root
from mesh_fixtures.artifacts.parts import Built
from mesh_fixtures.errors import LabError, MachineError, MeshConformanceError
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress
from mesh_fixtures.progress.display import Display
from tests.kind_environment import (
    catalog,
    isolation,
    machine,
    node_image,
    packages,
    podman_image,
)
from tests.kind_environment.status import CANNOT_RUN, INTERRUPTED, UNAVAILABLE, USAGE
from tests.kind_environment.terminal import say
from tests.kind_environment.world import Engine, World

LOCK_DEADLINE = 3600.0
"""Seconds to wait for another environment of this user to end."""

_LOCK_REMINDER = 30.0

_PART_DEADLINE = 60.0
"""Seconds for a process that looks at a part, e.g. whether to evict it, to let go of it."""

_STORES: Final[Mapping[Engine, str]] = {"docker": node_image.NAME, "podman": podman_image.NAME}
"""The part with the node image for an engine."""


def main(arguments: Sequence[str]) -> int:
    """Run a command in an environment.

    Returns:
        The exit status of the command, or one of `status`.
    """
    engine, command = _read(arguments)
    if not command:
        say((__doc__ or "").strip())
        return 0 if list(arguments) in (["-h"], ["--help"]) else USAGE
    display = Display(say)
    try:
        machine.require()
        with interruption.holding():
            return _run(command, engine, Progress("kind environment", display), display)
    except MachineError as error:
        say(str(error))
        return CANNOT_RUN
    except MeshConformanceError as error:
        say(str(error))
        return UNAVAILABLE
    except OSError as error:
        say(f"kind environment: {error}")
        return UNAVAILABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        display.close()


def _read(arguments: Sequence[str]) -> tuple[Engine, Sequence[str]]:
    """The engine and the command; without a command where the arguments cannot be understood."""
    engine: Engine = "docker"
    for asked in get_args(Engine):
        if list(arguments[:2]) == ["--engine", asked]:
            engine, arguments = asked, arguments[2:]
    return engine, arguments[1:] if list(arguments[:1]) == ["--"] else ()


def _run(command: Sequence[str], engine: Engine, progress: Progress, display: Display) -> int:
    root = cache_root()
    built = Cache(root).ensure(catalog.parts(engine), progress)
    home = catalog.home()
    folder = home / "run"
    cgroup = f"{isolation.CGROUP}-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"
    with _alone(home, progress), _in_use(root, built, engine):
        isolation.clean(folder, cgroup)
        try:
            parts = {name: part.folder for name, part in built.items()}
            world = _world(command, engine, folder, cgroup, parts)
            display.close()
            return isolation.run(world)
        finally:
            with interruption.removing():
                isolation.clean(folder, cgroup)


@contextlib.contextmanager
def _alone(home: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of this user's environments; say so while another one runs.

    Raises:
        LabError: it runs for too long.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / ".lock")
    waited = 0.0
    while True:
        try:
            lock.acquire(timeout=_LOCK_REMINDER if waited else 0.5)
            break
        except Timeout as error:
            if waited >= LOCK_DEADLINE:
                raise LabError(
                    wanted=f"no other environment to run within {LOCK_DEADLINE:g} s",
                    seen="one that still runs",
                    where=str(home),
                    remedy="wait for it, or end it",
                ) from error
            progress.note("waiting", "another environment of this user runs")
            waited += _LOCK_REMINDER
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _in_use(root: Path, built: Mapping[str, Built], engine: Engine) -> Iterator[None]:
    """Keep the parts that are mounted from being evicted."""
    with contextlib.ExitStack() as held:
        for name in ("debian", packages.OF_ENGINE[engine], _STORES[engine]):
            held.enter_context(
                Entry(root / name, built[name].key).lock.acquire(timeout=_PART_DEADLINE)
            )
        yield


def _world(
    command: Sequence[str], engine: Engine, folder: Path, cgroup: str, parts: Mapping[str, Path]
) -> World:
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name, program in catalog.programs(parts, engine).items():
        (programs / name).symlink_to(program)
    return World(
        folder=str(folder),
        lowers=packages.lowers_of_engine(parts, engine),
        cgroup=cgroup,
        command=list(command),
        directory=str(Path.cwd()),
        engine=engine,
        store=str(parts[_STORES[engine]]),
        environment=_environment(folder, programs, engine),
    )


def _environment(folder: Path, programs: Path, engine: Engine) -> dict[str, str]:
    """Variables of the command; empty ones are removed.

    What is the user's own elsewhere, a lab's state, kubeconfigs and Docker's settings, is the
    environment's here. Nothing outside can be reached, so there is no proxy either.
    """
    proxies = (f"{name}_proxy" for name in ("all", "ftp", "http", "https", "no"))
    removed = ["DOCKER_CONTEXT", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"]
    removed += [spelt for name in proxies for spelt in (name, name.upper())]
    return {
        **dict.fromkeys(removed, ""),
        "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}",
        "DOCKER_CONFIG": str(folder / "docker-client"),
        "KIND_EXPERIMENTAL_PROVIDER": engine,
        "KUBECONFIG": str(folder / "kubeconfig"),
        "XDG_STATE_HOME": str(folder / "state"),
        "MESH_PROVIDER": "kind",
        "MESH_KUBERNETES": node_image.IMAGE,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Podman: how it is configured, and how it is called where no daemon is.

Each command of it works in the engine's root, which a process that does nothing keeps. What Podman
would take from systemd elsewhere, it makes itself: control groups by files, events in a file.
"""

from __future__ import annotations

import resource
import shlex
from pathlib import Path
from typing import Final

from tests.kind_environment import engine
from tests.kind_environment.world import World

SETTINGS: Final = "etc/containers"
"""Folder of Podman's configuration files, in the engine's root."""

_ANY_IMAGE: Final = '{"default": [{"type": "insecureAcceptAnything"}]}'


def start(world: World, root: Path) -> engine.Started:
    """Make `podman` work for the environment's command, and wait until it answers.

    Raises:
        LabError: it does not answer in time.
    """
    engine.add_runtime(root)
    settings = root / SETTINGS
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "containers.conf").write_text(containers_conf())
    (settings / "storage.conf").write_text(storage_conf(world))
    (settings / "policy.json").write_text(_ANY_IMAGE)
    log = Path(world.folder) / "podman.log"
    keeper = engine.start(root, log, ["sleep", "infinity"])
    programs = Path(world.folder) / "bin"
    programs.mkdir(exist_ok=True)
    program = programs / "podman"
    program.write_text(wrapper(keeper.process.pid, world.cgroup))
    program.chmod(0o755)
    engine.await_answer(keeper, "Podman", [str(program), "info"])
    return keeper


def wrapper(keeper: int, cgroup: str) -> str:
    """The program `podman`: runs the real one where it belongs, and its containers in their group.

    Args:
        keeper: pid of a process in the engine's root.
    """
    path = shlex.quote(engine.PATH)
    return f"""#!/bin/sh
if [ "${{1:-}}" = run ] || [ "${{1:-}}" = create ]; then
    verb=$1
    shift
    set -- "$verb" --cgroup-parent={shlex.quote(f"/{cgroup}")} "$@"
fi
exec nsenter --mount=/proc/{keeper}/ns/mnt -- env -i PATH={path} HOME=/root LANG=C.UTF-8 podman "$@"
"""


def containers_conf() -> str:
    """containers.conf(5)."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    _, processes = resource.getrlimit(resource.RLIMIT_NPROC)
    # Podman's own default is higher, which the kernel refuses without CAP_SYS_RESOURCE
    limits = [f"nofile={files}:{files}", f"nproc={processes}:{processes}"]
    return f"""[containers]
default_ulimits = [{", ".join(f'"{each}"' for each in limits)}]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "restricted"
[engine.runtimes]
restricted = ["{engine.RUNTIME}"]
[network]
network_backend = "netavark"
"""


def storage_conf(world: World) -> str:
    """containers-storage.conf(5)."""
    stores = f'"{world.store}"' if world.store else ""
    return f"""[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "{world.podman_root}"
[storage.options]
additionalimagestores = [{stores}]
"""

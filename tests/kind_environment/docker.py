"""Docker's daemon: what it starts with, how it is started, how its store is kept."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from tests.kind_environment import engine
from tests.kind_environment.mounts import mount
from tests.kind_environment.world import World

SOCKET: Final = "unix:///run/docker.sock"

_DRIVER: Final = "overlay2"
STORED: Final = ("image", _DRIVER)
"""Folders of Docker's data root that hold images; all others hold containers and their like."""

_FILES: Final = "diff"
"""Folder of a layer with its files; beside it is little."""


def share_store(store: Path, data: Path) -> None:
    """Give a new data root the images of a store that stays as it is.

    The files of layers are mounted read-only where Docker looks for them; its notes on images and
    layers, which it writes to, are copied.
    """
    data.mkdir(mode=0o710)
    shutil.copytree(store / "image", data / "image", symlinks=True)
    layers = store / _DRIVER
    shutil.copytree(layers, data / _DRIVER, symlinks=True, ignore=_files_of_layers)
    for files in sorted(layers.glob(f"*/{_FILES}")):
        shown = data / _DRIVER / files.relative_to(layers)
        shown.mkdir()
        mount("--bind", files, shown)
        mount("-o", "remount,bind,ro", shown)


def _files_of_layers(folder: str, names: list[str]) -> list[str]:
    return [_FILES] if _FILES in names else []


def start(world: World, root: Path) -> engine.Started:
    """Start dockerd with a folder as its root and wait until it answers.

    Raises:
        LabError: it does not answer in time.
    """
    engine.add_runtime(root)
    client = root / "usr/bin/docker"
    log = Path(world.folder) / "dockerd.log"
    daemon = engine.start(root, log, _command(world))
    engine.await_answer(daemon, "Docker", [str(client), f"--host={SOCKET}", "version"])
    return daemon


def _command(world: World) -> list[str]:
    return [
        "dockerd",
        f"--host={SOCKET}",
        f"--data-root={world.docker_root}",
        "--exec-root=/run/docker",
        "--pidfile=/run/docker.pid",
        f"--storage-driver={_DRIVER}",
        f"--cgroup-parent=/{world.cgroup}",
        # the default is below zero, which the kernel refuses without CAP_SYS_RESOURCE
        "--oom-score-adjust=0",
        f"--add-runtime=restricted={engine.RUNTIME}",
        "--default-runtime=restricted",
    ]

"""Docker's daemon: what it starts with, how it is started, how its store is kept."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from mesh_fixtures.errors import LabError
from tests.kind_environment.mounts import mount
from tests.kind_environment.world import World

START_DEADLINE: Final = 60.0
RUNTIME: Final = "/usr/local/sbin/oci-runtime"
SOCKET: Final = "unix:///run/docker.sock"

_DRIVER: Final = "overlay2"
STORED: Final = ("image", _DRIVER)
"""Folders of Docker's data root that hold images; all others hold containers and their like."""

_FILES: Final = "diff"
"""Folder of a layer with its files; beside it is little."""

_IN_ROOT: Final = Path(__file__).with_name("in-root.sh")
_WRAPPER: Final = Path(__file__).with_name("oci_runtime.py")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


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


def start(world: World, root: Path) -> subprocess.Popen[bytes]:
    """Start dockerd with a folder as its root and wait until it answers.

    Raises:
        LabError: it does not answer in time.
    """
    wrapper = root / RUNTIME.removeprefix("/")
    shutil.copyfile(_WRAPPER, wrapper)
    wrapper.chmod(0o755)
    client = root / "usr/bin/docker"
    log = Path(world.folder) / "dockerd.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            ["unshare", "--mount", _IN_ROOT, root, *_arguments(world)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8"},
            start_new_session=True,
        )
    _await_answer(daemon, client, log)
    return daemon


def _arguments(world: World) -> list[str]:
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
        f"--add-runtime=restricted={RUNTIME}",
        "--default-runtime=restricted",
    ]


def _await_answer(daemon: subprocess.Popen[bytes], client: Path, log: Path) -> None:
    command = [str(client), f"--host={SOCKET}", "version"]
    end = time.monotonic() + START_DEADLINE
    while True:
        asked = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_DEADLINE,
            env={"PATH": _PATH},
        )
        if asked.returncode == 0:
            return
        if daemon.poll() is not None or time.monotonic() > end:
            ended = daemon.returncode
            state = f"dockerd ended with status {ended}" if ended is not None else "no answer"
            raise LabError(
                wanted=f"an answer from Docker within {START_DEADLINE:g} s",
                seen=f"{state}: {asked.stderr.strip()}\n{tail(log)}",
                where="kind environment",
            )
        time.sleep(0.1)


def tail(log: Path, lines: int = 20) -> str:
    """The end of a daemon's log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

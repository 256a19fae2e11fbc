"""Mounts of the environment, in its own mount namespace: they end with its last process."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from mesh_fixtures.errors import LabError

_OF_ENGINE: Final = ("boot", "dev", "etc", "proc", "run", "sys", "usr", "var")
"""Top folders that are not the machine's for the engine."""

_MODULES: Final = "usr/lib/modules"
"""Modules of the kernel, which kind mounts into nodes."""


def mount(*arguments: str | Path) -> None:
    """mount(8).

    Raises:
        LabError: it failed.
    """
    command = ["mount", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise LabError(
            wanted=f"{' '.join(command)} to succeed",
            seen=done.stderr.strip() or f"exit status {done.returncode}",
            where="kind environment",
        )


def fresh_run() -> None:
    """Hide the machine's /run, and with it the sockets of its own daemons, under an empty one."""
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")


def engine_root(folder: Path, lowers: list[str]) -> Path:
    """The root in which the container engine runs; returns where it is mounted.

    It has Debian's programs of one known release. The machine's folders of data are in it too, so
    that what is mounted into a container is found under the same path.

    Args:
        folder: on a disk, with all mounts below it that the engine has to see.
        lowers: read-only layers, the upper one first.
    """
    root = Path("/run/engine")
    for part in (root, folder / "upper", folder / "work"):
        part.mkdir()
    layers = f"lowerdir={':'.join(lowers)},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    mount("-t", "overlay", "-o", layers, "overlay", root)
    mount("--bind", "/run", root / "run")
    for name in ("dev", "proc", "sys"):
        mount("--rbind", f"/{name}", root / name)
    (root / _MODULES).mkdir(parents=True, exist_ok=True)
    if Path("/", _MODULES).is_dir():
        mount("--rbind", Path("/", _MODULES), root / _MODULES)
    data = [top for top in sorted(Path("/").iterdir()) if top.name not in _OF_ENGINE]
    for outside in (*data, folder):
        inside = root / outside.relative_to("/")
        if outside.is_dir() and not outside.is_symlink() and not inside.is_symlink():
            inside.mkdir(parents=True, exist_ok=True)
            mount("--rbind", outside, inside)
    return root
